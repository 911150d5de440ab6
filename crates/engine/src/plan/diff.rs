//! Compares the desired with the observed state: merged first, then compared, one resource after the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    pin::pin,
    sync::LazyLock,
};

use futures::stream::{self, StreamExt};
use tracing::{Instrument, debug_span};

use crate::{
    model::{
        address::Address,
        change::Change,
        schema::{Problem, Schema},
        state::{Desired, State},
    },
    plan::{
        dependencies::Dependencies,
        document::{
            DesiredResource, Diff, PlanError, PlannedChange, Remark, StateDigests, Unobserved,
        },
        merge,
        observe::{ObserveError, Observed, observe},
        state_digests::state_digests,
    },
    provider::{host::Host, registry::Registry},
};

/// How many resources are completed from the host at once.
const MAX_CONCURRENT: usize = 256;

/// Reads what is wanted and completes it from the host, at the same time and many at once; then compares each in its order.
/// Returns the digest of each reading as well, since what differs was moved into the changes.
pub(crate) async fn observe_and_diff<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    wanted: &[DesiredResource],
) -> Result<(StateDigests, Diff), PlanError> {
    let addresses = || wanted.iter().map(|wanted| &wanted.address);
    for address in addresses() {
        registry.provider_of(address).map_err(ObserveError::from)?;
    }
    let prepared = wanted
        .iter()
        .map(|wanted| prepare(registry, reader, wanted));
    let mut prepared = stream::iter(prepared).buffered(MAX_CONCURRENT);
    let mut early = vec![];
    let mut observing = pin!(observe(registry, reader, addresses()));
    let observed = loop {
        tokio::select! {
            biased;
            observed = &mut observing => break observed?,
            Some(next) = prepared.next(), if early.len() < MAX_CONCURRENT => early.push(next),
        }
    };
    let readings = state_digests(registry, &observed);
    let diffing = async {
        let needs = LazyLock::new(|| Dependencies::new(wanted));
        let mut to_be_created = None;
        let mut differ = Differ::new(registry, observed);
        let mut problems = vec![];
        let mut all = stream::iter(early).chain(prepared);
        while let Some((next, prepared)) = all.next().await {
            match prepared {
                Ok(desired) => differ.diff_resource(next, &desired),
                Err(found) => {
                    let to_be_created =
                        to_be_created.get_or_insert_with(|| differ.to_be_created(wanted));
                    if needs.depends_on_any(&next.address, |need| to_be_created.contains(need)) {
                        // Nothing can be said yet; its step asks again.
                        differ.diff_resource(next, &next.desired);
                    } else {
                        let found = found.into_iter();
                        problems.extend(found.map(|problem| (next.address.clone(), problem)));
                    }
                }
            }
        }
        (differ.diff, problems)
    };
    let (comparison, problems) = diffing.instrument(debug_span!("prepare")).await;
    if problems.is_empty() {
        Ok((readings, comparison))
    } else {
        Err(PlanError::Problems(problems))
    }
}

/// Compares what is wanted, completed from the host, with what was observed of each, in the order of what is wanted. Pure.
pub fn diff<H: Host>(
    registry: &Registry<H>,
    observed: Observed,
    wanted: &[DesiredResource],
) -> Diff {
    let mut differ = Differ::new(registry, observed);
    for wanted in wanted {
        differ.diff_resource(wanted, &wanted.desired);
    }
    differ.diff
}

async fn prepare<'w, H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    wanted: &'w DesiredResource,
) -> (&'w DesiredResource, Result<Desired, Vec<Problem>>) {
    let kind = registry
        .provider_of(&wanted.address)
        .expect("looked up before");
    let name = &wanted.address.name;
    let prepared = match &wanted.desired {
        Desired::Absent => match kind.removable() {
            Some(kind) => {
                let possible = kind.prepare_absent(reader, name).await;
                possible.map(|()| Desired::Absent)
            }
            None => Ok(Desired::Absent),
        },
        Desired::Present(state) => {
            let prepared = kind.prepare(reader, name, State::clone(state)).await;
            prepared.map(Desired::present)
        }
    };
    (wanted, prepared)
}

/// Compares what is wanted, already prepared, with what was observed. Pure.
struct Differ<'a, H: Host> {
    registry: &'a Registry<H>,
    schemas: BTreeMap<&'static str, Schema>,
    /// Without what differs.
    observed: Observed,
    changed: HashSet<&'a Address>,
    diff: Diff,
}

impl<'a, H: Host> Differ<'a, H> {
    fn new(registry: &'a Registry<H>, observed: Observed) -> Self {
        let kinds = registry.iter();
        Self {
            registry,
            schemas: kinds.map(|(name, kind)| (name, kind.schema())).collect(),
            observed,
            changed: HashSet::new(),
            diff: Diff::default(),
        }
    }

    /// Returns what does not exist and shall.
    fn to_be_created<'w>(&self, wanted: &'w [DesiredResource]) -> BTreeSet<&'w Address> {
        let is_to_be_created = |wanted: &&DesiredResource| {
            let there = self.observed.get(&wanted.address);
            wanted.desired != Desired::Absent && matches!(there, Some(None))
        };
        let wanted = wanted.iter().filter(is_to_be_created);
        wanted.map(|wanted| &wanted.address).collect()
    }

    /// Takes the next one, in the order of what is wanted.
    fn diff_resource(&mut self, wanted: &'a DesiredResource, desired: &Desired) {
        let DesiredResource {
            address,
            needs,
            reason,
            ..
        } = wanted;
        let schema = &self.schemas[address.kind.as_str()];
        let kind = self.registry.provider_of(address).expect("observed before");
        // What has its change already is not there any more.
        let Entry::Occupied(observed) = self.observed.entry(address.clone()) else {
            return;
        };
        let before = observed.get().as_ref();
        let said = merge::remarks(schema, [before, desired.state()]);
        let remarks = said.into_iter().map(|text| Remark {
            address: address.clone(),
            text,
        });
        self.diff.remarks.extend(remarks);
        let by: Vec<_> = needs
            .iter()
            .filter(|need| self.changed.contains(need))
            .collect();
        let mut after = match (desired, before) {
            (Desired::Absent, _) => None,
            (Desired::Present(state), None) => Some(State::clone(state)),
            // Nearly all are as they should be.
            (Desired::Present(state), Some(before))
                if by.is_empty() && merge::is_satisfied(schema, before, state) =>
            {
                return;
            }
            (Desired::Present(state), Some(before)) => {
                let merged = merge::merge(schema, before, state);
                let unseen = merged.unobserved.into_iter().map(|attribute| Unobserved {
                    address: address.clone(),
                    attribute,
                });
                self.diff.unobserved.extend(unseen);
                Some(merged.after)
            }
        };
        if let (Some(before), Some(_), false) = (before, &after, by.is_empty()) {
            let due = kind.reactive();
            after = due
                .and_then(|kind| kind.after_dependency_change(&address.name, before, &by))
                .or(after);
        }
        if merge::is_same_state(schema, before, after.as_ref()) {
            return;
        }
        self.changed.insert(address);
        // What does not exist stays: it is still to come.
        let before = before.is_some().then(|| observed.remove()).flatten();
        let change = Change::between(before, after).expect("two absent ones are the same");
        let effects = kind.effects(&address.name, &change);
        self.diff.changes.push(PlannedChange {
            address: address.clone(),
            change,
            reason: reason.clone(),
            cause: None,
            effects,
        });
    }
}
