//! Carrying out a plan: journal, step, verify; on any failure back to the start. The only place that changes a host.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    observe::{ObserveError, Observed, observe},
    plan::{Because, Needs, Plan, PlanError, PlannedChange, plan_wanted, reading},
    probe::Probes,
    provider::{Host, ProviderError},
    registry::{Registry, State, UnknownKind},
    report::chain,
    rollback::{Begun, roll_back},
    schema::Schema,
    state_folder::{self, StateFolder, StateFolderError},
};

/// How often verification looks again, since the kernel and daemons need time to settle.
const VERIFY_TRIES: usize = 3;
/// How long it waits between two looks.
pub(crate) const VERIFY_PAUSE: Duration = Duration::from_millis(200);

/// How often a run mends what its own steps moved in what needs them, before it takes that for a failure.
const FOLLOW_UPS: usize = 2;

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
    #[error("{0} passed before and fails now: {1}")]
    Check(Address, String),
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
        let start = observe(self.registry, &H::reader(self.writer), plan.readings.keys()).await?;
        let moved = self.moved(plan, &start);
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
        let mut running = Running {
            plan,
            needs: Needs::of(&plan.wanted),
            start,
            begun: vec![],
            changed: BTreeSet::new(),
        };
        Ok(self.carry_out(run, &mut running, &mut journal).await)
    }

    fn moved(&self, plan: &Plan, start: &Observed) -> Vec<Address> {
        plan.readings
            .iter()
            .filter(|(address, read)| {
                reading(self.registry, address, start[*address].as_ref()) != **read
            })
            .map(|(address, _)| address.clone())
            .collect()
    }

    async fn carry_out(
        &self,
        run: u64,
        running: &mut Running<'_>,
        journal: &mut Journal,
    ) -> Outcome {
        let mut next = steps(self.registry, &running.plan.changes);
        (self.observer)(&Event::Started {
            run,
            steps: next.len(),
        });
        let probes = Probes::before(self.registry, self.writer, running.plan).await;
        let result = async {
            let mut number = 0;
            let mut follow_ups = 0;
            let after = loop {
                for step in &next {
                    number += 1;
                    self.step(number, step, journal, running).await?;
                }
                match self.verify(running, follow_ups < FOLLOW_UPS).await? {
                    Verified::Reached(after) => break after,
                    Verified::Moved(changes) => next = steps(self.registry, &changes),
                }
                follow_ups += 1;
            };
            probes
                .after(self.writer, self.observer)
                .await
                .map_err(|(address, reason)| Failure::Check(address, reason))?;
            journal.write(&Record::Ended {
                at: Timestamp::now(),
                outcome: Outcome::Done { run },
                after,
            })?;
            Ok(())
        };
        match result.await {
            Ok(()) => Outcome::Done { run },
            Err(failure) => self.go_back(run, &failure, &running.begun, journal).await,
        }
    }

    async fn step(
        &self,
        number: usize,
        step: &[PlannedChange],
        journal: &mut Journal,
        running: &mut Running<'_>,
    ) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let addresses: Vec<_> = step.iter().map(|planned| planned.address.clone()).collect();
        let kind = self.registry.of(&addresses[0])?;
        let mut begun = Begun::default();
        let mut changes = vec![];
        for (address, change) in self.current(step, running).await? {
            kind.save(self.writer, &address.name, &change).await?;
            if change.before().is_none() {
                let reader = H::reader(self.writer);
                let left = kind.leaves(&reader, &address.name).await;
                begun.left.insert(address.clone(), left);
            }
            running.note(&mut begun, &kind.schema(), address, change.before());
            changes.push((address.name.as_str(), change));
        }
        if changes.is_empty() {
            (self.observer)(&Event::StepDone { step: number });
            return Ok(());
        }
        (self.observer)(&Event::Step {
            step: number,
            addresses,
        });
        journal.write(&Record::Step {
            before: begun.before.clone(),
            moved: begun.moved.clone(),
            left: begun.left.clone(),
        })?;
        running.begun.push(begun);
        kind.apply(self.writer, changes).await?;
        journal.write(&Record::Done)?;
        (self.observer)(&Event::StepDone { step: number });
        Ok(())
    }

    /// Returns the changes that a step is to make now. What they need may have moved them since the plan, even to where they shall be;
    /// what anybody else has moved is refused.
    async fn current<'s>(
        &self,
        step: &'s [PlannedChange],
        running: &Running<'_>,
    ) -> Result<Vec<(&'s Address, Change<State>)>, Failure> {
        let plan = running.plan;
        let reader = H::reader(self.writer);
        let addresses: BTreeSet<_> = step.iter().map(|planned| &planned.address).collect();
        let is_disturbed = |address: &&Address| running.is_disturbed(address);
        let disturbed: BTreeSet<_> = addresses.iter().copied().filter(is_disturbed).collect();
        let mut wanted = plan.wanted.clone();
        // All of the step together: what one of them needs another may bring.
        wanted.retain(|wanted| !disturbed.is_empty() && addresses.contains(&wanted.address));
        let again = plan_wanted(self.registry, &reader, &plan.host, wanted).await?;
        let observed = observe(self.registry, &reader, addresses).await?;
        let mut changes = vec![];
        for planned in step {
            let address = &planned.address;
            if disturbed.contains(address) {
                let found = again.changes.iter().find(|again| again.address == *address);
                changes.extend(found.map(|found| (address, found.change.clone())));
                continue;
            }
            let now = observed[address].clone();
            let schema = self.registry.of(address)?.schema();
            if !diff::is_same_reading(&schema, planned.change.before(), now.as_ref()) {
                return Err(Failure::Stale(vec![address.clone()]));
            }
            let change = Change::between(now, planned.change.after().cloned());
            changes.extend(change.map(|change| (address, change)));
        }
        Ok(changes)
    }

    /// Looks again until nothing is left to change, and returns what is there now; or what the steps have moved elsewhere,
    /// if that may still be mended.
    async fn verify(&self, running: &Running<'_>, may_mend: bool) -> Result<Verified, Failure> {
        (self.observer)(&Event::Verifying);
        let plan = running.plan;
        for attempt in 1.. {
            let reader = H::reader(self.writer);
            let again =
                plan_wanted(self.registry, &reader, &plan.host, plan.wanted.clone()).await?;
            if again.is_empty() {
                let after = observe(self.registry, &reader, &running.changed).await?;
                return Ok(Verified::Reached(after));
            }
            let is_ours = |planned: &PlannedChange| running.is_disturbed(&planned.address);
            if may_mend && again.changes.iter().all(is_ours) {
                return Ok(Verified::Moved(again.changes));
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
        begun: &[Begun],
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
        let outcome = match (failure, outcome) {
            (
                Failure::Check(..),
                Outcome::Failed {
                    run,
                    cause,
                    reverted,
                },
            ) => Outcome::CheckFailed {
                run,
                cause,
                reverted,
            },
            (_, outcome) => outcome,
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

/// A run under way.
struct Running<'a> {
    plan: &'a Plan,
    needs: Needs<'a>,
    /// What was there when it began.
    start: Observed,
    /// The steps that have begun.
    begun: Vec<Begun>,
    /// What they have changed.
    changed: BTreeSet<Address>,
}

impl Running<'_> {
    /// Whether the run has changed anything that `address` needs.
    fn is_disturbed(&self, address: &Address) -> bool {
        self.needs
            .is_any(address, |need| self.changed.contains(need))
    }

    /// Notes what is there just before a change.
    fn note(
        &mut self,
        begun: &mut Begun,
        schema: &Schema,
        address: &Address,
        before: Option<&State>,
    ) {
        let start = self.start.get(address).cloned().flatten();
        let is_moved = !diff::is_same_reading(schema, start.as_ref(), before);
        if is_moved && !self.changed.contains(address) {
            begun.moved.insert(address.clone(), start);
        }
        begun.before.push((address.clone(), before.cloned()));
        self.changed.insert(address.clone());
    }
}

/// What a verification found.
enum Verified {
    /// All is as planned; this is what is there.
    Reached(BTreeMap<Address, Option<State>>),
    /// The steps of the run have moved these, which need them.
    Moved(Vec<PlannedChange>),
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
            Because::Spec { .. } | Because::Implied { .. } => None,
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
