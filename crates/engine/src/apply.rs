//! Carrying out a plan: journal, step, verify; on any failure back to the start. The only place that changes a host.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    address::Address,
    change::Change,
    diff,
    event::{Event, Observer},
    journal::{Journal, JournalError, Outcome, Record, VERSION},
    lock::Lock,
    observe::{ObserveError, observe},
    plan::{Because, Plan, PlanError, PlannedChange, plan_wanted, reading},
    provider::{Host, ProviderError},
    registry::{Registry, State, UnknownKind},
    report::chain,
    rollback::{Before, roll_back},
    state_folder::{self, StateFolder, StateFolderError},
};

/// How often verification looks again, since the kernel and daemons need time to settle.
const VERIFY_TRIES: usize = 3;
/// How long it waits between two looks.
const VERIFY_PAUSE: Duration = Duration::from_millis(200);

/// What an apply works with.
#[derive(Clone, Copy)]
pub struct Apply<'a, H: Host> {
    /// The kinds.
    pub registry: &'a Registry<H>,
    /// The power to change the host.
    pub writer: &'a H::Writer,
    /// Where the run is kept.
    pub state: &'a StateFolder,
    /// Who watches.
    pub observer: Observer<'a>,
    /// Set from outside to stop between two steps and go back.
    pub stop: &'a AtomicBool,
}

/// The run could not begin; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan was changed after it was saved, or is of another version.
    #[error("the plan is damaged or of another version of stead")]
    Damaged,
    /// The host could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The run folder could not be made.
    #[error(transparent)]
    Folder(#[from] StateFolderError),
    /// The journal could not be made.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a run that had begun failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the journal cannot be written")]
    Journal(#[from] StateFolderError),
    #[error("{} has changed since the plan was made", list(.0))]
    Stale(Vec<Address>),
    #[error("after the changes the host is not as planned: {0}")]
    Unverified(String),
    #[error("stopped on request")]
    Stopped,
}

impl<H: Host> Apply<'_, H> {
    /// Carries out `plan` under `lock`. Nothing is done if the host has moved since it was made.
    ///
    /// # Errors
    /// Only before anything was changed; what fails later is in the outcome.
    pub async fn run(&self, lock: &mut Lock, plan: &Plan) -> Result<Outcome, ApplyError> {
        if !plan.is_intact() {
            return Err(ApplyError::Damaged);
        }
        let moved = self.moved(plan).await?;
        if !moved.is_empty() {
            return Ok(Outcome::Stale { addresses: moved });
        }
        let run = self.state.next_run()?;
        let document = serde_json::to_vec_pretty(plan).expect("a plan has string keys");
        state_folder::write_whole(&self.state.run(run).join("plan.json"), &document)?;
        let mut journal = Journal::open(self.state, run)?;
        journal.write(&Record::Started {
            version: VERSION,
            at: Timestamp::now(),
            stead: env!("CARGO_PKG_VERSION").to_owned(),
            undoes: undoes(plan),
        })?;
        // The note in the lock only helps the message of others.
        drop(lock.name_run(run));
        Ok(self.carry_out(run, plan, &mut journal).await)
    }

    async fn moved(&self, plan: &Plan) -> Result<Vec<Address>, ObserveError> {
        let observed =
            observe(self.registry, &H::reader(self.writer), plan.readings.keys()).await?;
        Ok(plan
            .readings
            .iter()
            .filter(|(address, read)| {
                reading(self.registry, address, observed[*address].as_ref()) != **read
            })
            .map(|(address, _)| address.clone())
            .collect())
    }

    async fn carry_out(&self, run: u64, plan: &Plan, journal: &mut Journal) -> Outcome {
        let steps = steps(self.registry, &plan.changes);
        (self.observer)(&Event::Started {
            run,
            steps: steps.len(),
        });
        let mut begun: Vec<Before> = vec![];
        let result = async {
            for (index, step) in steps.iter().enumerate() {
                self.step(index + 1, step, journal, &mut begun).await?;
            }
            let after = self.verify(plan).await?;
            journal.write(&Record::Ended {
                at: Timestamp::now(),
                outcome: Outcome::Done { run },
                after,
            })?;
            Ok(())
        };
        match result.await {
            Ok(()) => Outcome::Done { run },
            Err(failure) => self.go_back(run, &failure, &begun, journal).await,
        }
    }

    async fn step(
        &self,
        number: usize,
        step: &[PlannedChange],
        journal: &mut Journal,
        begun: &mut Vec<Before>,
    ) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let addresses: Vec<_> = step.iter().map(|planned| planned.address.clone()).collect();
        let kind = self.registry.of(&addresses[0])?;
        let schema = kind.schema();
        let mut observed = observe(self.registry, &H::reader(self.writer), &addresses).await?;
        let mut before = vec![];
        let mut changes = vec![];
        for planned in step {
            let now = observed.remove(&planned.address).flatten();
            if !diff::is_same_reading(&schema, planned.change.before(), now.as_ref()) {
                return Err(Failure::Stale(vec![planned.address.clone()]));
            }
            if let Some(now) = &now {
                kind.save(self.writer, &planned.address.name, now).await?;
            }
            before.push((planned.address.clone(), now.clone()));
            let change = Change::between(now, planned.change.after().cloned());
            changes.extend(change.map(|change| (planned.address.name.as_str(), change)));
        }
        (self.observer)(&Event::Step {
            step: number,
            addresses,
        });
        journal.write(&Record::Step {
            before: before.clone(),
        })?;
        begun.push(before);
        kind.apply(self.writer, changes).await?;
        journal.write(&Record::Done)?;
        (self.observer)(&Event::StepDone { step: number });
        Ok(())
    }

    /// Looks again until nothing is left to change, and returns what is there now.
    async fn verify(&self, plan: &Plan) -> Result<BTreeMap<Address, Option<State>>, Failure> {
        (self.observer)(&Event::Verifying);
        for attempt in 1.. {
            let reader = H::reader(self.writer);
            let again =
                plan_wanted(self.registry, &reader, &plan.host, plan.wanted.clone()).await?;
            if again.is_empty() {
                let changed = plan.changes.iter().map(|planned| &planned.address);
                return Ok(observe(self.registry, &reader, changed).await?);
            }
            if attempt == VERIFY_TRIES {
                return Err(Failure::Unverified(self.describe(&again)));
            }
            tokio::time::sleep(VERIFY_PAUSE).await;
        }
        unreachable!("the loop returns")
    }

    fn describe(&self, plan: &Plan) -> String {
        let describe = |planned: &PlannedChange| match &planned.change {
            Change::Create { .. } => format!("{} does not exist", planned.address),
            Change::Delete { .. } => format!("{} still exists", planned.address),
            Change::Update { before, after } => {
                let schema = self
                    .registry
                    .of(&planned.address)
                    .expect("planned")
                    .schema();
                let attributes: Vec<_> = diff::differences(&schema, before, after)
                    .map(|name| format!("{name} is {}, not {}", before[name], after[name]))
                    .collect();
                format!("{}: {}", planned.address, attributes.join(", "))
            }
        };
        plan.changes
            .iter()
            .map(describe)
            .collect::<Vec<_>>()
            .join("; ")
    }

    async fn go_back(
        &self,
        run: u64,
        failure: &Failure,
        begun: &[Before],
        journal: &mut Journal,
    ) -> Outcome {
        let cause = cause(failure);
        (self.observer)(&Event::RollingBack {
            cause: cause.clone(),
        });
        // Going back matters more than its record: recovery would go the same way again.
        drop(journal.write(&Record::RollingBack {
            cause: cause.join(": "),
        }));
        let outcome = match failure {
            Failure::Stale(addresses) if begun.is_empty() => Outcome::Stale {
                addresses: addresses.clone(),
            },
            _ => outcome(
                run,
                cause,
                roll_back(self.registry, self.writer, begun, self.observer).await,
            ),
        };
        let ended = Record::Ended {
            at: Timestamp::now(),
            outcome: outcome.clone(),
            after: BTreeMap::new(),
        };
        drop(journal.write(&ended));
        outcome
    }
}

pub(crate) fn outcome(
    run: u64,
    cause: Vec<String>,
    rollback: crate::rollback::Rollback,
) -> Outcome {
    let crate::rollback::Rollback { reverted, residue } = rollback;
    if residue.is_empty() {
        Outcome::Failed {
            run,
            cause,
            reverted,
        }
    } else {
        Outcome::Residue {
            run,
            cause,
            reverted,
            residue,
        }
    }
}

/// Groups neighbours of one kind as far as the kind takes several at once.
fn steps<H: Host>(registry: &Registry<H>, changes: &[PlannedChange]) -> Vec<Vec<PlannedChange>> {
    let mut steps: Vec<Vec<PlannedChange>> = vec![];
    for planned in changes {
        let batch = registry
            .of(&planned.address)
            .map_or(1, super::registry::Kind::batch);
        match steps.last_mut() {
            Some(step) if step[0].address.kind == planned.address.kind && step.len() < batch => {
                step.push(planned.clone());
            }
            _ => steps.push(vec![planned.clone()]),
        }
    }
    steps
}

fn undoes(plan: &Plan) -> Option<u64> {
    plan.changes
        .iter()
        .find_map(|planned| match planned.because {
            Because::Undo { run } => Some(run),
            Because::Spec { .. } => None,
        })
}

fn cause(failure: &Failure) -> Vec<String> {
    let mut lines = chain(failure);
    if let Failure::Provider(ProviderError {
        help: Some(help), ..
    }) = failure
    {
        lines.push(help.clone());
    }
    lines
}

fn list(addresses: &[Address]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
