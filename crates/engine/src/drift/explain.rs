//! The causes of drift, by the history of runs and the evidence of the kinds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    history::{
        journal::{Outcome, Record},
        runs::{self, Run, effective_runs},
        state_dir::StateDir,
    },
    model::{
        address::Address,
        change::Change,
        drift::Drift,
        schema::{Role, Schema, Shape},
        state::{Desired, State},
    },
    plan::{
        cause::Cause,
        document::{DesiredResource, Plan, PlannedChange, Reason},
        merge,
        state_digests::state_digest,
    },
    provider::{erased::DynProvider, host::Host, registry::Registry},
};

/// Says of each change of a plan why it differs, by the runs in `state`. Where none counts, the newest has not ended, or they cannot be read,
/// there is nothing to say.
pub async fn explain<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    state: &StateDir,
    mut plan: Plan,
) -> Plan {
    if plan.is_empty() {
        return plan;
    }
    let runs = runs::list(state).unwrap_or_default();
    let has_ended = runs.last().is_some_and(|run| run.ended.is_some());
    let past = RunHistory {
        runs: &runs,
        effective: effective_runs(&runs),
    };
    if !has_ended || past.effective.is_empty() {
        return plan;
    }
    let boot = H::boot_id(reader);
    let mut before: BTreeSet<Address> = BTreeSet::new();
    let mut causes = vec![];
    for planned in &plan.changes {
        let wanted = plan
            .desired
            .iter()
            .find(|wanted| wanted.address == planned.address);
        let cause = match (wanted, registry.provider_of(&planned.address)) {
            (Some(wanted), Ok(kind)) if !matches!(planned.reason, Reason::Undo { .. }) => {
                let difference = UnexplainedChange {
                    kind,
                    schema: kind.schema(),
                    planned,
                    wanted,
                };
                let followed = difference.changed_dependency(&before);
                match followed {
                    Some(address) if past.requested(&planned.address).is_some() => {
                        Some(Cause::DependencyChanged { address })
                    }
                    _ => difference.cause(registry, reader, &past, &boot).await,
                }
            }
            _ => None,
        };
        causes.push(cause);
        before.insert(planned.address.clone());
    }
    for (planned, cause) in plan.changes.iter_mut().zip(causes) {
        planned.cause = cause;
    }
    plan.with_fingerprint()
}

/// The runs that were.
struct RunHistory<'a> {
    /// All of them, oldest first.
    runs: &'a [Run],
    /// Those that count, newest first.
    effective: Vec<&'a Run>,
}

/// What a run left of an address.
enum LastKnownState<'a> {
    /// This; `None` is that it did not exist.
    State(Option<&'a State>),
    /// What this is the digest of.
    Digest(&'a str),
}

impl<'a> RunHistory<'a> {
    /// Returns the last run that counts and asks for an address, and what it asks for.
    fn requested(&self, address: &Address) -> Option<(u64, &'a DesiredResource)> {
        self.effective
            .iter()
            .find_map(|run| Some((run.run, desired_in(run, address)?)))
    }

    /// Returns the last run that ended with what it asked for an address.
    fn converged_in(&self, address: &Address) -> Option<&'a Run> {
        self.runs.iter().rev().find(|run| {
            let is_done = matches!(run.outcome, Some(Outcome::Done { .. }));
            is_done && desired_in(run, address).is_some()
        })
    }

    /// Returns when a run last had an address in hand, `reached` or one that came after it and failed.
    fn modified_at(&self, address: &Address, reached: &Run) -> Option<Timestamp> {
        let has_touched = |run: &&Run| {
            run.run == reached.run || states_before(run).any(|(stepped, _)| stepped == address)
        };
        self.runs.iter().rev().find(has_touched)?.ended
    }

    /// Returns what a run left of an address: where it did not change it, what it had read.
    fn last_known_state<H: Host>(
        &self,
        registry: &Registry<H>,
        run: &'a Run,
        address: &Address,
    ) -> Option<LastKnownState<'a>> {
        if let Some(state) = states_after(run).and_then(|after| after.get(address)) {
            return Some(LastKnownState::State(state.as_ref()));
        }
        let read = run.plan.as_ref()?.state_digests.get(address)?;
        let older = self.runs.iter().filter(|older| older.run < run.run);
        let known = older
            .rev()
            .filter_map(|older| states_after(older)?.get(address))
            .find(|state| state_digest(registry, address, state.as_ref()) == *read);
        Some(known.map_or(LastKnownState::Digest(read), |state| {
            LastKnownState::State(state.as_ref())
        }))
    }

    /// Returns what was there before any run that is known changed it.
    fn original(&self, address: &Address) -> Option<&'a State> {
        let mut steps = self.runs.iter().flat_map(states_before);
        steps.find(|(stepped, _)| *stepped == address)?.1
    }
}

/// Returns all that a run changed, each with what was there when the run began.
fn states_before(run: &Run) -> impl Iterator<Item = (&Address, Option<&State>)> {
    run.records.iter().flat_map(|record| match record {
        Record::Step {
            before,
            start_states,
            ..
        } => before
            .iter()
            .map(|(address, before)| {
                (
                    address,
                    start_states.get(address).unwrap_or(before).as_ref(),
                )
            })
            .collect(),
        _ => vec![],
    })
}

fn states_after(run: &Run) -> Option<&BTreeMap<Address, Option<State>>> {
    match run.records.last() {
        Some(Record::Ended { after, .. }) => Some(after),
        _ => None,
    }
}

fn desired_in<'a>(run: &'a Run, address: &Address) -> Option<&'a DesiredResource> {
    let wanted = &run.plan.as_ref()?.desired;
    wanted.iter().find(|wanted| wanted.address == *address)
}

/// A change whose cause is looked for.
struct UnexplainedChange<'a, H: Host> {
    kind: &'a dyn DynProvider<H>,
    schema: Schema,
    planned: &'a PlannedChange,
    wanted: &'a DesiredResource,
}

impl<H: Host> UnexplainedChange<'_, H> {
    /// Returns the change before it that makes it due, if one does.
    fn changed_dependency(&self, changed: &BTreeSet<Address>) -> Option<Address> {
        let (Some(before), Some(after)) = self.sides() else {
            return None;
        };
        let needs = self.wanted.needs.iter();
        let by: Vec<_> = needs.filter(|need| changed.contains(*need)).collect();
        let first = (*by.first()?).clone();
        let kind = self.kind.reactive()?;
        let disturbed = kind.after_dependency_change(&self.wanted.address.name, before, &by)?;
        merge::is_same(&self.schema, &disturbed, after).then_some(first)
    }

    async fn cause(
        &self,
        registry: &Registry<H>,
        reader: &H::Reader,
        past: &RunHistory<'_>,
        boot: &str,
    ) -> Option<Cause> {
        let address = &self.wanted.address;
        let newest = past.effective.first()?.run;
        let Some((run, asked)) = past.requested(address) else {
            return Some(Cause::Spec {
                run: newest,
                is_new: true,
            });
        };
        let changed = Some(Cause::Spec { run, is_new: false });
        let Some(change) = self.change_since_run(reader, asked).await else {
            return changed;
        };
        let reached = past.converged_in(address)?;
        let left = past.last_known_state(registry, reached, address);
        let before = change.before();
        let is_unmoved = left.as_ref().is_some_and(|left| match left {
            LastKnownState::State(state) => merge::is_same_state(&self.schema, before, *state),
            LastKnownState::Digest(digest) => state_digest(registry, address, before) == **digest,
        });
        if is_unmoved && self.has_file_source() {
            return changed;
        }
        let drift = Drift {
            since: reached.ended?,
            modified_at: past.modified_at(address, reached)?,
            rebooted: boot_of(reached)
                .filter(|_| !boot.is_empty())
                .map(|booted| booted != boot),
            after_run: match left {
                Some(LastKnownState::State(state)) => state.cloned(),
                _ => None,
            },
            original: past.original(address).cloned(),
            change,
        };
        let evidence = match self.kind.watchable() {
            Some(kind) if !is_unmoved => kind.attribute_drift(reader, &address.name, drift).await,
            _ => None,
        };
        Some(Cause::from_evidence(reached.run, evidence))
    }

    /// Returns the change that leads to what a run asked for, if there would be one and the spec still asks for some of it.
    async fn change_since_run(
        &self,
        reader: &H::Reader,
        asked: &DesiredResource,
    ) -> Option<Change<State>> {
        if asked.desired == self.wanted.desired {
            return Some(self.planned.change.clone());
        }
        let (before, now) = self.sides();
        let then = match &asked.desired {
            Desired::Absent => None,
            Desired::Present(state) => {
                let name = &self.wanted.address.name;
                let prepared = self
                    .kind
                    .prepare(reader, name, State::clone(state))
                    .await
                    .ok()?;
                Some(match before {
                    Some(before) => merge::merge(&self.schema, before, &prepared).after,
                    None => prepared,
                })
            }
        };
        let is_spec = match (before, now, &then) {
            // Nobody moved what was asked for then.
            _ if merge::is_same_state(&self.schema, before, then.as_ref()) => true,
            // What moved is asked for in another way now.
            (Some(before), Some(now), Some(then)) => {
                let other: BTreeSet<_> = merge::differences(&self.schema, then, now).collect();
                merge::differences(&self.schema, before, now).all(|name| other.contains(name))
            }
            (None, Some(_), Some(_)) => false,
            _ => true,
        };
        if is_spec {
            return None;
        }
        Change::between(before.cloned(), then)
    }

    fn sides(&self) -> (Option<&State>, Option<&State>) {
        let change = &self.planned.change;
        (change.before(), change.after())
    }

    /// Whether the spec takes something out of a file, which may change while the words of the spec stay.
    fn has_file_source(&self) -> bool {
        let attributes = self.schema.attributes.iter();
        let mut files = attributes
            .filter(|attribute| attribute.role == Role::Input && attribute.shape == Shape::Path);
        let desired = self.wanted.desired.state();
        files.any(|file| desired.is_some_and(|desired| desired.get(file.name).is_some()))
    }
}

/// Returns the boot in which a run began; `None` for runs of a stead that did not note it.
fn boot_of(run: &Run) -> Option<&str> {
    match run.records.first() {
        Some(Record::Started { boot, .. }) => boot.as_deref(),
        _ => None,
    }
}
