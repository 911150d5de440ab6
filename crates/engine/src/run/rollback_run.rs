//! Rolls a run back by its journal: in the run itself, when it is recovered, and when it is not confirmed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    history::{
        journal::{Journal, Outcome, Record, Residue, RetryState, RollbackReason},
        stage::retry_delay,
        state_dir::StateDirError,
        window::ConfirmWindow,
    },
    model::{address::Address, state::State},
    provider::host::Host,
    run::{
        context::RunContext,
        event::Event,
        rollback::{RollbackReport, StartedStep, roll_back},
    },
};

/// A run that is rolled back.
#[derive(Debug)]
pub(crate) struct RollbackRun {
    /// Its number.
    pub(crate) run: u64,
    /// Why, from the general to the particular.
    pub(crate) cause: Vec<String>,
    /// What made it do so.
    pub(crate) reason: RollbackReason,
    /// How long it was to wait for its confirmation, if it was. Then somebody is armed.
    pub(crate) window: Option<ConfirmWindow>,
    /// What it does when something cannot be put back and somebody is armed.
    pub(crate) on_residue: OnResidue,
    /// How often it was tried before; `None` if it was not.
    pub(crate) earlier_tries: Option<u32>,
    /// How many records of its journal nobody can read any more.
    pub(crate) damaged_records: usize,
}

/// What a rollback does that cannot put everything back, in a run that somebody is armed for. Any other run it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnResidue {
    /// It ends the run, and names the residue.
    Stop,
    /// It leaves the run to whoever is armed to try again.
    Retry,
}

impl RollbackRun {
    /// Puts back every step, and records how that went.
    pub(crate) async fn execute<H: Host>(
        self,
        apply: &RunContext<'_, H>,
        steps: &[StartedStep],
        journal: &mut Journal,
    ) -> Outcome {
        (apply.observer)(&Event::RollingBack {
            cause: self.cause.clone(),
        });
        apply.state.release_reserve();
        if self.earlier_tries.is_none() {
            // Rollback matters more than its record: recovery would go the same way again.
            drop(self.record(journal));
        }
        let mut rollback = roll_back(apply.registry, apply.writer, steps, apply.observer).await;
        rollback.residue.extend(self.damage_residue());
        let can_retry =
            self.window.is_some() && self.on_residue == OnResidue::Retry && rollback.is_retryable;
        let tries = self.earlier_tries.unwrap_or(0) + 1;
        let end = RunEnd {
            run: self.run,
            window: self.window,
            after: BTreeMap::new(),
        };
        let outcome = self.outcome(rollback);
        if let (true, Outcome::Residue { residue, .. }) = (can_retry, &outcome) {
            let left = RetryState {
                tries,
                retry_at: H::now(apply.writer).plus(retry_delay(tries)),
                residue: residue.clone(),
            };
            drop(journal.write(&Record::Retry(left)));
        } else {
            end.record(apply, journal, &outcome).await;
        }
        outcome
    }

    /// Records that the run is rolled back: from then on nobody can confirm it.
    pub(crate) fn record(&self, journal: &mut Journal) -> Result<(), StateDirError> {
        journal.write(&Record::RollingBack {
            cause: self.cause.join(": "),
            reason: self.reason,
        })
    }

    /// Says what nobody can know any more.
    fn damage_residue(&self) -> Option<Residue> {
        (self.damaged_records > 0).then(|| Residue {
            address: Address::new("journal", self.run.to_string()),
            reason: format!(
                "{} of its records cannot be read: the states before those steps are lost; the plan of the run shows which steps they may be",
                self.damaged_records
            ),
        })
    }

    fn outcome(self, rollback: RollbackReport) -> Outcome {
        let Self {
            run, cause, reason, ..
        } = self;
        let RollbackReport {
            restored, residue, ..
        } = rollback;
        match reason {
            _ if !residue.is_empty() => Outcome::Residue {
                run,
                cause,
                restored,
                residue,
            },
            RollbackReason::Failed => Outcome::Failed {
                run,
                cause,
                restored,
            },
            RollbackReason::Check => Outcome::CheckFailed {
                run,
                cause,
                restored,
            },
            RollbackReason::Unconfirmed => Outcome::NotConfirmed {
                run,
                cause,
                restored,
            },
        }
    }
}

/// A run that ends.
pub(crate) struct RunEnd {
    /// Its number.
    pub(crate) run: u64,
    /// How long it was to wait for its confirmation, if it was.
    pub(crate) window: Option<ConfirmWindow>,
    /// What is there now, for each address that it changed; nothing unless it is done.
    pub(crate) after: BTreeMap<Address, Option<State>>,
}

impl RunEnd {
    /// Records how it ended, and then lets whoever looks after it go. Where either fails, whoever looks after it does both.
    pub(crate) async fn record<H: Host>(
        self,
        apply: &RunContext<'_, H>,
        journal: &mut Journal,
        outcome: &Outcome,
    ) {
        if self.write(journal, outcome).is_ok() {
            self.disarm(apply).await;
        }
    }

    /// Records how it ended.
    pub(crate) fn write(
        &self,
        journal: &mut Journal,
        outcome: &Outcome,
    ) -> Result<(), StateDirError> {
        journal.write(&Record::Ended {
            at: Timestamp::now(),
            outcome: outcome.clone(),
            after: self.after.clone(),
        })
    }

    /// Lets whoever looks after it go.
    pub(crate) async fn disarm<H: Host>(&self, apply: &RunContext<'_, H>) {
        if self.window.is_some() {
            // Who is armed still finds that the run has ended, and goes.
            drop(H::disarm(apply.writer, self.run).await);
        }
    }
}
