//! Rolls a run back by its journal: in the run itself, when it is recovered, and when it is not confirmed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    history::{
        journal::{Journal, Left, Outcome, Reason, Record, Residue},
        stage::pause,
        state_dir::StateFolderError,
        window::Window,
    },
    model::{address::Address, state::State},
    provider::host::Host,
    run::{
        context::Apply,
        event::Event,
        rollback::{Begun, Rollback, roll_back},
    },
};

/// A run that goes back.
#[derive(Debug)]
pub(crate) struct GoingBack {
    /// Its number.
    pub(crate) run: u64,
    /// Why, from the general to the particular.
    pub(crate) cause: Vec<String>,
    /// What made it do so.
    pub(crate) reason: Reason,
    /// How long it was to wait for its confirmation, if it was. Then somebody is armed.
    pub(crate) window: Option<Window>,
    /// What it does when something cannot be put back and somebody is armed.
    pub(crate) persistence: Persistence,
    /// How often it was tried before; `None` if it was not.
    pub(crate) tried: Option<u32>,
    /// How many records of its journal nobody can read any more.
    pub(crate) damaged: usize,
}

/// What a rollback does that cannot put everything back, in a run that somebody is armed for. Any other run it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It ends the run, and names the residue.
    Ends,
    /// It leaves the run to whoever is armed to try again.
    TriesAgain,
}

impl GoingBack {
    /// Puts back every step, and records how that went.
    pub(crate) async fn carry_out<H: Host>(
        self,
        apply: &Apply<'_, H>,
        steps: &[Begun],
        journal: &mut Journal,
    ) -> Outcome {
        (apply.observer)(&Event::RollingBack {
            cause: self.cause.clone(),
        });
        apply.state.release();
        if self.tried.is_none() {
            // Going back matters more than its record: recovery would go the same way again.
            drop(self.record(journal));
        }
        let mut rollback = roll_back(apply.registry, apply.writer, steps, apply.observer).await;
        rollback.residue.extend(self.lost());
        let persists = self.window.is_some()
            && self.persistence == Persistence::TriesAgain
            && rollback.is_retryable;
        let tries = self.tried.unwrap_or(0) + 1;
        let ending = Ending {
            run: self.run,
            window: self.window,
            after: BTreeMap::new(),
        };
        let outcome = self.outcome(rollback);
        if let (true, Outcome::Residue { residue, .. }) = (persists, &outcome) {
            let left = Left {
                tries,
                again: H::now(apply.writer).later(pause(tries)),
                residue: residue.clone(),
            };
            drop(journal.write(&Record::Left(left)));
        } else {
            ending.record(apply, journal, &outcome).await;
        }
        outcome
    }

    /// Records that the run goes back: from then on nobody can confirm it.
    pub(crate) fn record(&self, journal: &mut Journal) -> Result<(), StateFolderError> {
        journal.write(&Record::RollingBack {
            cause: self.cause.join(": "),
            reason: self.reason,
        })
    }

    /// Says what nobody can know any more.
    fn lost(&self) -> Option<Residue> {
        (self.damaged > 0).then(|| Residue {
            address: Address::new("journal", self.run.to_string()),
            reason: format!(
                "{} of its records cannot be read: the states before those steps are lost; the plan of the run shows which steps they may be",
                self.damaged
            ),
        })
    }

    fn outcome(self, rollback: Rollback) -> Outcome {
        let Self {
            run, cause, reason, ..
        } = self;
        let Rollback {
            reverted, residue, ..
        } = rollback;
        match reason {
            _ if !residue.is_empty() => Outcome::Residue {
                run,
                cause,
                reverted,
                residue,
            },
            Reason::Failed => Outcome::Failed {
                run,
                cause,
                reverted,
            },
            Reason::Check => Outcome::CheckFailed {
                run,
                cause,
                reverted,
            },
            Reason::Unconfirmed => Outcome::NotConfirmed {
                run,
                cause,
                reverted,
            },
        }
    }
}

/// A run that ends.
pub(crate) struct Ending {
    /// Its number.
    pub(crate) run: u64,
    /// How long it was to wait for its confirmation, if it was.
    pub(crate) window: Option<Window>,
    /// What is there now, for each address that it changed; nothing unless it is done.
    pub(crate) after: BTreeMap<Address, Option<State>>,
}

impl Ending {
    /// Records how it ended, and then lets whoever looks after it go. Where either fails, whoever looks after it does both.
    pub(crate) async fn record<H: Host>(
        self,
        apply: &Apply<'_, H>,
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
    ) -> Result<(), StateFolderError> {
        journal.write(&Record::Ended {
            at: Timestamp::now(),
            outcome: outcome.clone(),
            after: self.after.clone(),
        })
    }

    /// Lets whoever looks after it go.
    pub(crate) async fn disarm<H: Host>(&self, apply: &Apply<'_, H>) {
        if self.window.is_some() {
            // Who is armed still finds that the run has ended, and goes.
            drop(H::disarm(apply.writer, self.run).await);
        }
    }
}
