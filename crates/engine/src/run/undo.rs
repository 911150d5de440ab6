//! Undo of one run: an ordinary plan to the state before it.

use std::collections::BTreeSet;

use crate::{
    history::{
        journal::{self, Outcome, Record},
        runs::{self, HistoryError},
        state_dir::StateDir,
    },
    model::{
        address::Address,
        change::Change,
        state::{Desired, State},
    },
    plan::{
        document::{DesiredResource, Diff, Plan, PlannedChange, Reason},
        merge,
        observe::{ObserveError, observe},
        state_digests::state_digests,
    },
    provider::{
        host::Host,
        registry::{Registry, UnknownKind},
    },
    run::rollback::{is_restart, outlives_parent},
};

/// A run cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The run changed nothing that is still there: it failed and was rolled back, or was stale.
    #[error("run {0} did not succeed: there is nothing to undo")]
    NothingDone(u64),
    /// Nobody can read what was there before some of its steps.
    #[error("the journal of run {0} is damaged: the state before it is not known")]
    Damaged(u64),
    /// The host has moved since: undoing it would lose what came later. Never empty.
    #[error("{} changed since that run", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Conflicts(Vec<Address>),
    /// The run.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The host.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A journal of another version.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
}

/// Plans to take `run` back, newest change first. What is as before already is left alone.
///
/// # Errors
/// All addresses that are neither as the run left them nor as it found them.
pub async fn undo<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    state: &StateDir,
    run: u64,
) -> Result<Plan, UndoError> {
    let history = runs::load(state, run)?;
    let Some(Record::Ended {
        outcome: Outcome::Done { .. },
        after,
        ..
    }) = history.records.last()
    else {
        return Err(UndoError::NothingDone(run));
    };
    if journal::damaged_count(&history.records) > 0 {
        return Err(UndoError::Damaged(run));
    }
    let before = original_states(registry, &history.records);
    let observed = observe(registry, reader, before.iter().map(|(address, _)| address)).await?;
    let host = history
        .plan
        .as_ref()
        .map_or_else(String::new, |plan| plan.host.clone());

    let mut comparison = Diff::default();
    let mut wanted = vec![];
    let mut conflicts = vec![];
    for (address, before) in &before {
        let kind = registry.provider_of(address)?;
        let schema = kind.schema();
        let now = &observed[address];
        let reason = Reason::Undo { run };
        let desired = before.clone().map_or(Desired::Absent, Desired::present);
        wanted.push(DesiredResource {
            address: address.clone(),
            desired,
            needs: vec![],
            reason: reason.clone(),
        });
        if merge::is_same_state(&schema, now.as_ref(), before.as_ref()) {
            continue;
        }
        let left = after.get(address).cloned().flatten();
        if !merge::is_same_state(&schema, now.as_ref(), left.as_ref()) {
            conflicts.push(address.clone());
            continue;
        }
        let change = Change::between(now.clone(), before.clone()).expect("the two differ");
        let effects = kind.effects(&address.name, &change);
        comparison.changes.push(PlannedChange {
            address: address.clone(),
            change,
            reason,
            cause: None,
            effects,
        });
    }
    if !conflicts.is_empty() {
        return Err(UndoError::Conflicts(conflicts));
    }
    let readings = state_digests(registry, &observed);
    Ok(Plan::new(host, wanted, comparison, readings))
}

/// Returns what a run found of all that it changed, in the order of rollback: newest first, and restarts last. What came to be
/// with something that the run made goes with it, and is left out unless it leaves traces.
fn original_states<H: Host>(
    registry: &Registry<H>,
    records: &[Record],
) -> Vec<(Address, Option<State>)> {
    let mut seen = BTreeSet::new();
    let mut found = vec![];
    for record in records {
        let Record::Step {
            before,
            start_states,
            ..
        } = record
        else {
            continue;
        };
        for (address, before) in before.iter().filter(|(address, _)| seen.insert(address)) {
            match start_states.get(address) {
                Some(None) if !outlives_parent(registry, address) => {}
                Some(start) => found.push((address.clone(), start.clone())),
                None => found.push((address.clone(), before.clone())),
            }
        }
    }
    found.reverse();
    found.sort_by_key(|(address, _)| is_restart(registry, address));
    found
}
