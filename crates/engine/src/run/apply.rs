//! Executes a plan: journal, step, verify; rolls back on any failure. The only place that changes a host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Instant,
};

use jiff::Timestamp;
use tracing::{Instrument, debug_span};

use crate::{
    history::{
        journal::{Journal, JournalError, Outcome, Pending, Reason, Record, VERSION},
        lock::Lock,
        prune::prune,
        state_dir::{self, StateFolderError},
        window::Window,
    },
    model::{address::Address, change::Change, error_chain::chain, state::State},
    plan::{
        dependencies::Needs,
        document::{Because, Plan, PlanError, PlannedChange},
        merge,
        observe::{ObserveError, Observed, observe},
        planner::plan_wanted,
        state_digests::reading,
    },
    provider::{
        error::ProviderError,
        host::{Guard, GuardError, Host},
        registry::{Registry, UnknownKind},
    },
    run::{
        checks::{LostSign, Probes, Signs},
        context::{Apply, VERIFY_PAUSE},
        event::Event,
        progress::{Running, Verified},
        rollback::Begun,
        rollback_run::{Ending, GoingBack, Persistence},
    },
};

/// How often verification looks again, since the kernel and daemons need time to settle.
const VERIFY_TRIES: usize = 3;

/// How often a run mends what its own steps moved in what needs them, before it takes that for a failure.
const FOLLOW_UPS: usize = 2;

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
    #[error("the host differs from the plan after the changes: {0}")]
    Unverified(String),
    #[error("the watchdog that rolls the run back cannot be armed")]
    Guard(#[from] GuardError),
    #[error("{0} passed before and fails now: {1}")]
    Check(Address, String),
    #[error(transparent)]
    Sign(#[from] LostSign),
    #[error("interrupted by Ctrl-C or a signal")]
    Stopped,
}

impl<H: Host> Apply<'_, H> {
    /// Carries out `plan` under `lock`. Nothing is done if the host has moved since it was made. With a window the run waits for its
    /// confirmation in the end, and somebody outside this process takes it back if it does not come.
    ///
    /// # Errors
    /// Only before anything was changed; what fails later is in the outcome.
    pub async fn run(
        &self,
        lock: &mut Lock,
        plan: &Plan,
        window: Option<Window>,
    ) -> Result<Outcome, ApplyError> {
        if !plan.is_intact() {
            return Err(ApplyError::Damaged);
        }
        let start = observe(self.registry, &H::reader(self.writer), plan.readings.keys()).await?;
        let moved = self.moved(plan, &start);
        if !moved.is_empty() {
            return Ok(Outcome::Stale { addresses: moved });
        }
        self.state.reserve()?;
        let run = self.state.next_run()?;
        let document = serde_json::to_vec_pretty(plan).expect("a plan has string keys");
        state_dir::write_whole(&self.state.run(run).join("plan.json"), &document)?;
        let mut journal = Journal::open(self.state, run)?;
        journal.write(&Record::Started {
            version: VERSION,
            at: Timestamp::now(),
            stead: env!("CARGO_PKG_VERSION").to_owned(),
            undoes: undoes(plan),
            window,
            boot: Some(H::now(self.writer).boot).filter(|boot| !boot.is_empty()),
        })?;
        // The note in the lock only helps the message of others.
        drop(lock.name_run(run));
        let running = Running {
            run,
            window,
            plan,
            needs: Needs::of(&plan.wanted),
            start,
            begun: vec![],
            changed: BTreeSet::new(),
        };
        let outcome = self.carry_out(running, &mut journal).await;
        // What cannot be removed now goes after another run.
        drop(prune(self.state));
        Ok(outcome)
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

    async fn carry_out(&self, mut running: Running<'_>, journal: &mut Journal) -> Outcome {
        let steps = steps(self.registry, &running.plan.changes);
        (self.observer)(&Event::Started {
            run: running.run,
            steps: steps.len(),
        });
        match self.reach(steps, &mut running, journal).await {
            Ok(outcome) => outcome,
            Err(failure) => self.go_back(&failure, running, journal).await,
        }
    }

    /// Makes the steps and sees that they have led to where they should.
    async fn reach(
        &self,
        mut next: Vec<Vec<PlannedChange>>,
        running: &mut Running<'_>,
        journal: &mut Journal,
    ) -> Result<Outcome, Failure> {
        self.arm(running).await?;
        let probes = Probes::before(self.registry, self.writer, running.plan).await;
        let signs = Signs::before::<H>(self.writer, running.window).await;
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
        let failed = |(address, reason)| Failure::Check(address, reason);
        signs.after::<H>(self.writer, self.observer).await?;
        probes
            .after(self.writer, self.observer)
            .await
            .map_err(failed)?;
        self.settle(running, after, journal)
    }

    async fn arm(&self, running: &Running<'_>) -> Result<(), Failure> {
        let Some(window) = running.window else {
            return Ok(());
        };
        let guard = Guard {
            run: running.run,
            state: self.state.path(),
            every: window.look(),
        };
        H::arm(self.writer, &guard).await?;
        (self.observer)(&Event::Armed {
            seconds: window.seconds,
        });
        Ok(())
    }

    /// Ends the run, or lets it wait for its confirmation.
    fn settle(
        &self,
        running: &Running<'_>,
        after: BTreeMap<Address, Option<State>>,
        journal: &mut Journal,
    ) -> Result<Outcome, Failure> {
        let run = running.run;
        let Some(window) = running.window else {
            let outcome = Outcome::Done { run };
            let ending = Ending {
                run,
                window: None,
                after,
            };
            ending.write(journal, &outcome)?;
            return Ok(outcome);
        };
        let until = Timestamp::now()
            .checked_add(window.length())
            .unwrap_or(Timestamp::MAX);
        journal.write(&Record::Pending(Pending {
            until,
            deadline: H::now(self.writer).later(window.length()),
            after,
        }))?;
        Ok(Outcome::Pending { run, until })
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
            if let Some(kind) = kind.reversible() {
                kind.back_up(self.writer, &address.name, &change).await?;
            }
            if let (Some(kind), None) = (kind.reversible(), change.before()) {
                let reader = H::reader(self.writer);
                let left = kind.remnants(&reader, &address.name).await;
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
        let span = debug_span!("apply", kind = step[0].address.kind.as_str());
        let clock = Instant::now();
        kind.apply(self.writer, changes).instrument(span).await?;
        journal.note(&Record::Done {
            milliseconds: u64::try_from(clock.elapsed().as_millis()).ok(),
        })?;
        (self.observer)(&Event::StepDone { step: number });
        Ok(())
    }

    /// Returns the changes that a step must make now. Dependencies changed by this run may have changed these resources too, even to their
    /// desired state; changes by anyone else make the step stale.
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
        // All of the step together: what one of them needs another may bring.
        let again = if disturbed.is_empty() {
            vec![]
        } else {
            let wanted = plan.wanted.iter();
            let wanted = wanted.filter(|wanted| addresses.contains(&wanted.address));
            let wanted = wanted.cloned().collect();
            let again = plan_wanted(self.registry, &reader, &plan.host, wanted).await?;
            again.changes
        };
        let observed = observe(self.registry, &reader, addresses).await?;
        let mut changes = vec![];
        for planned in step {
            let address = &planned.address;
            if disturbed.contains(address) {
                let found = again.iter().find(|again| again.address == *address);
                changes.extend(found.map(|found| (address, found.change.clone())));
                continue;
            }
            let now = observed[address].clone();
            let schema = self.registry.of(address)?.schema();
            if !merge::is_same_reading(&schema, planned.change.before(), now.as_ref()) {
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
                let attributes: Vec<_> = merge::differences(&schema, before, after)
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
        failure: &Failure,
        running: Running<'_>,
        journal: &mut Journal,
    ) -> Outcome {
        let Running {
            run, window, begun, ..
        } = running;
        if let (Failure::Stale(addresses), []) = (failure, begun.as_slice()) {
            let outcome = Outcome::Stale {
                addresses: addresses.clone(),
            };
            let ending = Ending {
                run,
                window,
                after: BTreeMap::new(),
            };
            ending.record(self, journal, &outcome).await;
            return outcome;
        }
        let reason = match failure {
            Failure::Check(..) | Failure::Sign(..) => Reason::Check,
            _ => Reason::Failed,
        };
        let back = GoingBack {
            run,
            cause: cause(failure),
            reason,
            window,
            persistence: Persistence::TriesAgain,
            tried: None,
            damaged: 0,
        };
        back.carry_out(self, &begun, journal).await
    }
}

/// Groups neighbours of one kind as far as the kind takes several at once.
fn steps<H: Host>(registry: &Registry<H>, changes: &[PlannedChange]) -> Vec<Vec<PlannedChange>> {
    let mut steps: Vec<Vec<PlannedChange>> = vec![];
    for planned in changes {
        let batch = registry
            .of(&planned.address)
            .map_or(1, |kind| kind.schema().lifecycle.max_batch);
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
