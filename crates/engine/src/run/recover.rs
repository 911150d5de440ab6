//! Rolls back an interrupted run by its journal.

use jiff::Timestamp;

use crate::{
    history::{
        journal::{self, Journal, JournalError, Outcome, Record, RollbackReason},
        lock::Lock,
        stage::Stage,
        state_dir::{StateDir, StateDirError},
        window::ConfirmWindow,
    },
    provider::host::Host,
    run::{context::RunContext, event::Event, rollback::StartedStep, rollback_run::RollbackRun},
};

pub use crate::run::rollback_run::OnResidue;

/// An unfinished run cannot be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It waits for its confirmation, so that nothing else may begin.
    #[error("run {run} waits to be confirmed until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC"))]
    Pending {
        /// The run.
        run: u64,
        /// When it is rolled back.
        until: Timestamp,
    },
    /// Its directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
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
    apply: &RunContext<'_, H>,
    lock: &Lock,
    on_residue: OnResidue,
) -> Result<Option<Outcome>, RecoverError> {
    let Some(newest) = LatestRun::load_unfinished(apply.state)? else {
        return Ok(None);
    };
    match &newest.stage {
        Stage::Ended(_) => Ok(None),
        Stage::Pending(pending) if !newest.stage.is_rollback_due(&H::now(apply.writer)) => {
            Err(RecoverError::Pending {
                run: newest.run,
                until: pending.until,
            })
        }
        _ => newest
            .roll_back_run(apply, lock, on_residue, None)
            .await
            .map(Some),
    }
}

/// The newest run, as its journal has it: the only one that may not have ended.
#[derive(Debug)]
pub struct LatestRun {
    /// Its number.
    pub run: u64,
    /// What is to become of it.
    pub stage: Stage,
    /// How long it waits for its confirmation, if it does.
    pub window: Option<ConfirmWindow>,
    steps: Vec<StartedStep>,
    /// How many records of its journal nobody can read any more.
    damaged_records: usize,
}

impl LatestRun {
    /// Reads it; `None` if there was no run yet.
    pub fn load(dir: &StateDir) -> Result<Option<Self>, RecoverError> {
        let Some(run) = dir.latest_run()? else {
            return Ok(None);
        };
        let records = journal::read(dir, run)?;
        let stage = Stage::from_records(&records);
        let window = match records.first() {
            Some(Record::Started { window, .. }) => *window,
            _ => None,
        };
        let damaged_records = journal::damaged_count(&records);
        let steps = records.into_iter().filter_map(|record| match record {
            Record::Step {
                before,
                start_states,
                remnants,
            } => Some(StartedStep {
                before,
                start_states,
                remnants,
            }),
            _ => None,
        });
        Ok(Some(Self {
            run,
            stage,
            window,
            steps: steps.collect(),
            damaged_records,
        }))
    }

    /// Reads it if it has not ended.
    pub fn load_unfinished(dir: &StateDir) -> Result<Option<Self>, RecoverError> {
        match dir.latest_run()? {
            Some(run) if journal::has_ended(dir, run)? => Ok(None),
            _ => Self::load(dir),
        }
    }

    /// Rolls it back, and says why: `because` somebody asked for that, or because of what its journal says.
    pub(crate) async fn roll_back_run<H: Host>(
        self,
        apply: &RunContext<'_, H>,
        _lock: &Lock,
        on_residue: OnResidue,
        because: Option<&str>,
    ) -> Result<Outcome, RecoverError> {
        (apply.observer)(&Event::Recovering { run: self.run });
        let (reason, cause, earlier_tries) = match self.stage {
            Stage::RollingBack {
                cause,
                reason,
                retry,
            } => (reason, cause, Some(retry.map_or(0, |retry| retry.tries))),
            Stage::Pending(pending) => {
                let is_another_boot = H::now(apply.writer).boot != pending.deadline.boot;
                let cause = match because {
                    Some(because) => because.to_owned(),
                    None if is_another_boot => {
                        "the host was rebooted before the run was confirmed".to_owned()
                    }
                    None => format!("the run was not confirmed by {}", pending.until),
                };
                (RollbackReason::Unconfirmed, cause, None)
            }
            Stage::Started | Stage::Ended(_) => (
                RollbackReason::Failed,
                "the run was interrupted".to_owned(),
                None,
            ),
        };
        let mut rollback = RollbackRun {
            run: self.run,
            cause: vec![cause],
            reason,
            window: self.window,
            on_residue,
            earlier_tries,
            damaged_records: self.damaged_records,
        };
        let mut journal = Journal::open(apply.state, self.run)?;
        if rollback.earlier_tries.is_none() && because.is_some() {
            // Whoever asked is there to ask again. A run that is half back, and whose journal does not say so, could be confirmed.
            apply.state.release_reserve();
            rollback.record(&mut journal)?;
            rollback.earlier_tries = Some(0);
        }
        Ok(rollback.execute(apply, &self.steps, &mut journal).await)
    }
}
