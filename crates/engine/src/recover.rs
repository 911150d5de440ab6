//! Finishing what a killed run left: its journal says what to put back.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    apply::{Apply, outcome},
    event::Event,
    journal::{self, Journal, JournalError, Outcome, Record},
    lock::Lock,
    provider::Host,
    rollback::{Begun, roll_back},
    state_folder::StateFolderError,
};

/// An unfinished run cannot be finished.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] StateFolderError),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Takes back the run that a killed process left unfinished, if there is one.
/// Only the newest can be: no run begins before this was called.
pub async fn recover<H: Host>(
    apply: &Apply<'_, H>,
    _lock: &Lock,
) -> Result<Option<Outcome>, RecoverError> {
    let Some(run) = interrupted(apply.state)? else {
        return Ok(None);
    };
    (apply.observer)(&Event::Recovering { run });
    let steps: Vec<_> = journal::read(apply.state, run)?
        .into_iter()
        .filter_map(|record| match record {
            Record::Step {
                before,
                moved,
                left,
            } => Some(Begun {
                before,
                moved,
                left,
            }),
            _ => None,
        })
        .collect();
    let rollback = roll_back(apply.registry, apply.writer, &steps, apply.observer).await;
    let outcome = outcome(run, vec!["the run was interrupted".to_owned()], rollback);
    let ended = Record::Ended {
        at: Timestamp::now(),
        outcome: outcome.clone(),
        after: BTreeMap::new(),
    };
    Journal::open(apply.state, run)?.write(&ended)?;
    Ok(Some(outcome))
}

/// Returns the run that a killed process left unfinished, if there is one.
pub fn interrupted(state: &crate::state_folder::StateFolder) -> Result<Option<u64>, RecoverError> {
    let Some(&run) = state.runs()?.last() else {
        return Ok(None);
    };
    let records = journal::read(state, run)?;
    let is_ended = matches!(records.last(), Some(Record::Ended { .. }));
    Ok((!is_ended).then_some(run))
}
