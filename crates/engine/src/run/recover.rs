//! Rolls back an interrupted run by its journal.

use jiff::Timestamp;

use crate::{
    history::{
        journal::{self, Journal, JournalError, Outcome, Reason, Record},
        lock::Lock,
        stage::Stage,
        state_dir::{StateFolder, StateFolderError},
        window::Window,
    },
    provider::host::Host,
    run::{context::Apply, event::Event, rollback::Begun, rollback_run::GoingBack},
};

pub use crate::run::rollback_run::Persistence;

/// An unfinished run cannot be finished.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It waits for its confirmation, so that nothing else may begin.
    #[error("run {run} waits to be confirmed until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC"))]
    Pending {
        /// The run.
        run: u64,
        /// When it goes back.
        until: Timestamp,
    },
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] StateFolderError),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Takes back the run that a killed process left unfinished, if there is one, or that nobody has confirmed in time.
/// Only the newest can be: no run begins before this was called.
///
/// # Errors
/// A run that waits for its confirmation still, beside what cannot be read or written.
pub async fn recover<H: Host>(
    apply: &Apply<'_, H>,
    lock: &Lock,
    persistence: Persistence,
) -> Result<Option<Outcome>, RecoverError> {
    let Some(newest) = Newest::find_open(apply.state)? else {
        return Ok(None);
    };
    match &newest.stage {
        Stage::Ended(_) => Ok(None),
        Stage::Pending(pending) if !newest.stage.is_due(&H::now(apply.writer)) => {
            Err(RecoverError::Pending {
                run: newest.run,
                until: pending.until,
            })
        }
        _ => newest
            .take_back(apply, lock, persistence, None)
            .await
            .map(Some),
    }
}

/// The newest run, as its journal has it: the only one that may not have ended.
#[derive(Debug)]
pub struct Newest {
    /// Its number.
    pub run: u64,
    /// What is to become of it.
    pub stage: Stage,
    /// How long it waits for its confirmation, if it does.
    pub window: Option<Window>,
    steps: Vec<Begun>,
    /// How many records of its journal nobody can read any more.
    damaged: usize,
}

impl Newest {
    /// Reads it; `None` if there was no run yet.
    pub fn find(folder: &StateFolder) -> Result<Option<Self>, RecoverError> {
        let Some(run) = folder.latest_run()? else {
            return Ok(None);
        };
        let records = journal::read(folder, run)?;
        let stage = Stage::of(&records);
        let window = match records.first() {
            Some(Record::Started { window, .. }) => *window,
            _ => None,
        };
        let damaged = journal::damaged(&records);
        let steps = records.into_iter().filter_map(|record| match record {
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
        });
        Ok(Some(Self {
            run,
            stage,
            window,
            steps: steps.collect(),
            damaged,
        }))
    }

    /// Reads it if it has not ended.
    pub fn find_open(folder: &StateFolder) -> Result<Option<Self>, RecoverError> {
        match folder.latest_run()? {
            Some(run) if journal::has_ended(folder, run)? => Ok(None),
            _ => Self::find(folder),
        }
    }

    /// Takes it back, and says why: `because` somebody asked for that, or because of what its journal says.
    pub(crate) async fn take_back<H: Host>(
        self,
        apply: &Apply<'_, H>,
        _lock: &Lock,
        persistence: Persistence,
        because: Option<&str>,
    ) -> Result<Outcome, RecoverError> {
        (apply.observer)(&Event::Recovering { run: self.run });
        let (reason, cause, tried) = match self.stage {
            Stage::GoingBack {
                cause,
                reason,
                left,
            } => (reason, cause, Some(left.map_or(0, |left| left.tries))),
            Stage::Pending(pending) => {
                let is_another_boot = H::now(apply.writer).boot != pending.deadline.boot;
                let cause = match because {
                    Some(because) => because.to_owned(),
                    None if is_another_boot => {
                        "the host was rebooted before the run was confirmed".to_owned()
                    }
                    None => format!("the run was not confirmed by {}", pending.until),
                };
                (Reason::Unconfirmed, cause, None)
            }
            Stage::Begun | Stage::Ended(_) => {
                (Reason::Failed, "the run was interrupted".to_owned(), None)
            }
        };
        let mut back = GoingBack {
            run: self.run,
            cause: vec![cause],
            reason,
            window: self.window,
            persistence,
            tried,
            damaged: self.damaged,
        };
        let mut journal = Journal::open(apply.state, self.run)?;
        if back.tried.is_none() && because.is_some() {
            // Whoever asked is there to ask again. A run that is half back, and whose journal does not say so, could be confirmed.
            apply.state.release();
            back.record(&mut journal)?;
            back.tried = Some(0);
        }
        Ok(back.carry_out(apply, &self.steps, &mut journal).await)
    }
}
