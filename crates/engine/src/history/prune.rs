//! Which runs are kept: all that something still needs, and the newest.

use std::collections::BTreeSet;

use crate::{
    history::{
        runs::{self, effective_runs},
        state_dir::{StateDir, StateDirError},
    },
    plan::document::Scope,
};

/// How many of the newest runs are kept, whatever they did: these can be undone. As many of those are kept beside them that only
/// brought back what had been overwritten.
const KEEP_NEWEST: usize = 100;

/// Removes the directories of runs that nothing needs, and contents that no run refers to. Called when a run has ended, so that none
/// waits for it.
///
/// What is kept beside the newest: the runs that [`runs::committed`] reads, and those that take one of the kept runs back.
/// If the history cannot be read, everything is kept.
pub(crate) fn prune(state: &StateDir) -> Result<(), StateDirError> {
    let numbers = state.run_numbers()?;
    if numbers.len() <= KEEP_NEWEST {
        return Ok(());
    }
    let Ok(runs) = runs::list(state) else {
        return Ok(());
    };
    let is_restore = |run: &&runs::Run| {
        let plan = run.plan.as_ref();
        plan.is_some_and(|plan| plan.scope == Scope::Restore)
    };
    let (restores, others): (Vec<_>, Vec<_>) = runs.iter().partition(is_restore);
    let newest = [restores, others].into_iter();
    let newest = newest.flat_map(|runs| runs.into_iter().rev().take(KEEP_NEWEST));
    let mut kept: BTreeSet<u64> = newest.map(|run| run.run).collect();
    kept.extend(effective_runs(&runs).iter().map(|run| run.run));
    for run in &runs {
        // A run that was undone would count again without the run that did it.
        if run.undoes.is_some_and(|other| kept.contains(&other)) {
            kept.insert(run.run);
        }
    }
    if kept.len() == numbers.len() {
        return Ok(());
    }
    for run in numbers.into_iter().filter(|run| !kept.contains(run)) {
        state.remove_run(run)?;
    }
    state.retain_blobs(&referenced_digests(state)?)
}

/// Returns every digest that a journal or plan of a run names: a digest is a word of 64 hexadecimal digits.
fn referenced_digests(state: &StateDir) -> Result<BTreeSet<String>, StateDirError> {
    let mut digests = BTreeSet::new();
    for run in state.run_numbers()? {
        for name in ["journal", "plan.json"] {
            let bytes = crate::history::state_dir::read(&state.run_dir(run).join(name))?
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let words = text.split(|c: char| !c.is_ascii_hexdigit());
            digests.extend(words.filter(|word| word.len() == 64).map(str::to_owned));
        }
    }
    Ok(digests)
}
