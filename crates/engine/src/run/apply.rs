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
        atomic_file::Durability,
        journal::{Journal, JournalError, Outcome, Pending, Record, RollbackReason, VERSION},
        lock::Lock,
        prune::prune,
        state_dir::{self, StateDirError},
        window::ConfirmWindow,
    },
    model::{address::Address, change::Change, error_chain::error_chain, state::State},
    plan::{
        dependencies::Dependencies,
        document::{Plan, PlanError, PlannedChange, Reason},
        merge,
        observe::{ObserveError, Observed, observe},
        planner::plan_desired,
        state_digests::state_digest,
    },
    provider::{
        error::ProviderError,
        host::{Host, Watchdog, WatchdogError},
        registry::{Registry, UnknownKind},
    },
    run::{
        checks::{HealthChecks, HealthLost, UserChecks},
        context::{RunContext, VERIFY_PAUSE},
        event::Event,
        progress::{RunProgress, Verification},
        rollback::StartedStep,
        rollback_run::{OnResidue, RollbackRun, RunEnd},
    },
};

/// How often verification looks again, since the kernel and daemons need time to settle.
const VERIFY_TRIES: usize = 3;

/// How often a run mends what its own steps moved in what needs them, before it takes that for a failure.
const MAX_REPAIR_ROUNDS: usize = 2;

/// The run could not begin; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan was changed after it was saved, or is of another version.
    #[error("the plan is damaged or of another version of stead")]
    Damaged,
    /// The host could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The run directory could not be made.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
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
    Journal(#[from] StateDirError),
    #[error("{} has changed since the plan was made", list(.0))]
    Stale(Vec<Address>),
    #[error("the host differs from the plan after the changes: {0}")]
    Unverified(String),
    #[error("the watchdog that rolls the run back cannot be armed")]
    Watchdog(#[from] WatchdogError),
    #[error("{0} passed before and fails now: {1}")]
    Check(Address, String),
    #[error(transparent)]
    Health(#[from] HealthLost),
    #[error("interrupted by Ctrl-C or a signal")]
    Stopped,
}

impl<H: Host> RunContext<'_, H> {
    /// Carries out `plan` under `lock`. Nothing is done if the host has moved since it was made. With a window the run waits for its
    /// confirmation in the end, and somebody outside this process rolls it back if it does not come.
    ///
    /// # Errors
    /// Only before anything was changed; what fails later is in the outcome.
    pub async fn run(
        &self,
        lock: &mut Lock,
        plan: &Plan,
        window: Option<ConfirmWindow>,
    ) -> Result<Outcome, ApplyError> {
        if !plan.has_valid_fingerprint() {
            return Err(ApplyError::Damaged);
        }
        let start_states = observe(
            self.registry,
            &H::reader(self.writer),
            plan.state_digests.keys(),
        )
        .await?;
        let moved = self.stale_addresses(plan, &start_states);
        if !moved.is_empty() {
            return Ok(Outcome::Stale { addresses: moved });
        }
        self.state.reserve_space()?;
        let run = self.state.create_run()?;
        let document = serde_json::to_vec_pretty(plan).expect("a plan has string keys");
        state_dir::write_atomic(
            &self.state.run_dir(run).join("plan.json"),
            &document,
            Durability::ContentsAndName,
        )?;
        let mut journal = Journal::open(self.state, run)?;
        journal.write(&Record::Started {
            version: VERSION,
            at: Timestamp::now(),
            stead: env!("CARGO_PKG_VERSION").to_owned(),
            undoes: undone_run(plan),
            window,
            boot: Some(H::now(self.writer).boot).filter(|boot| !boot.is_empty()),
        })?;
        // The note in the lock only helps the message of others.
        drop(lock.record_run(run));
        let running = RunProgress {
            run,
            window,
            plan,
            dependencies: Dependencies::new(&plan.desired),
            start_states,
            started: vec![],
            changed: BTreeSet::new(),
        };
        let outcome = self.execute(running, &mut journal).await;
        // What cannot be removed now goes after another run.
        drop(prune(self.state));
        Ok(outcome)
    }

    fn stale_addresses(&self, plan: &Plan, start: &Observed) -> Vec<Address> {
        plan.state_digests
            .iter()
            .filter(|(address, read)| {
                state_digest(self.registry, address, start[*address].as_ref()) != **read
            })
            .map(|(address, _)| address.clone())
            .collect()
    }

    async fn execute(&self, mut running: RunProgress<'_>, journal: &mut Journal) -> Outcome {
        let steps = group_steps(self.registry, &running.plan.changes);
        (self.observer)(&Event::Started {
            run: running.run,
            steps: steps.len(),
        });
        match self.run_steps(steps, &mut running, journal).await {
            Ok(outcome) => outcome,
            Err(failure) => self.roll_back(&failure, running, journal).await,
        }
    }

    /// Makes the steps and sees that they have led to where they should.
    async fn run_steps(
        &self,
        mut next: Vec<Vec<PlannedChange>>,
        running: &mut RunProgress<'_>,
        journal: &mut Journal,
    ) -> Result<Outcome, Failure> {
        self.arm_watchdog(running).await?;
        let checks = UserChecks::baseline(self.registry, self.writer, running.plan).await;
        let health = HealthChecks::baseline::<H>(self.writer, running.window).await;
        let mut number = 0;
        let mut repairs = 0;
        let after = loop {
            for step in &next {
                number += 1;
                self.run_step(number, step, journal, running).await?;
            }
            match self.verify(running, repairs < MAX_REPAIR_ROUNDS).await? {
                Verification::Converged(after) => break after,
                Verification::Diverged(changes) => next = group_steps(self.registry, &changes),
            }
            repairs += 1;
        };
        let failed = |(address, reason)| Failure::Check(address, reason);
        health.recheck::<H>(self.writer, self.observer).await?;
        checks
            .recheck(self.writer, self.observer)
            .await
            .map_err(failed)?;
        self.finish(running, after, journal)
    }

    async fn arm_watchdog(&self, running: &RunProgress<'_>) -> Result<(), Failure> {
        let Some(window) = running.window else {
            return Ok(());
        };
        let watchdog = Watchdog {
            run: running.run,
            state_dir: self.state.path(),
            poll_interval: window.poll_interval(),
        };
        H::arm(self.writer, &watchdog).await?;
        (self.observer)(&Event::Armed {
            seconds: window.seconds,
        });
        Ok(())
    }

    /// Ends the run, or lets it wait for its confirmation.
    fn finish(
        &self,
        running: &RunProgress<'_>,
        after: BTreeMap<Address, Option<State>>,
        journal: &mut Journal,
    ) -> Result<Outcome, Failure> {
        let run = running.run;
        let Some(window) = running.window else {
            let outcome = Outcome::Done { run };
            let end = RunEnd {
                run,
                window: None,
                after,
            };
            end.write(journal, &outcome)?;
            return Ok(outcome);
        };
        let until = Timestamp::now()
            .checked_add(window.length())
            .unwrap_or(Timestamp::MAX);
        journal.write(&Record::Pending(Pending {
            until,
            deadline: H::now(self.writer).plus(window.length()),
            after,
        }))?;
        Ok(Outcome::Pending { run, until })
    }

    async fn run_step(
        &self,
        number: usize,
        step: &[PlannedChange],
        journal: &mut Journal,
        running: &mut RunProgress<'_>,
    ) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let addresses: Vec<_> = step.iter().map(|planned| planned.address.clone()).collect();
        let kind = self.registry.provider_of(&addresses[0])?;
        let mut started = StartedStep::default();
        let mut changes = vec![];
        for (address, change) in self.recheck_step(step, running).await? {
            if let Some(kind) = kind.reversible() {
                kind.back_up(self.writer, &address.name, &change).await?;
            }
            if let (Some(kind), None) = (kind.reversible(), change.before()) {
                let reader = H::reader(self.writer);
                let left = kind.remnants(&reader, &address.name).await;
                started.remnants.insert(address.clone(), left);
            }
            running.record_before(&mut started, &kind.schema(), address, change.before());
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
            before: started.before.clone(),
            start_states: started.start_states.clone(),
            remnants: started.remnants.clone(),
        })?;
        running.started.push(started);
        let span = debug_span!("apply", kind = step[0].address.kind.as_str());
        let clock = Instant::now();
        kind.apply(self.writer, changes).instrument(span).await?;
        journal.append_unsynced(&Record::Done {
            milliseconds: u64::try_from(clock.elapsed().as_millis()).ok(),
        })?;
        (self.observer)(&Event::StepDone { step: number });
        Ok(())
    }

    /// Returns the changes that a step must make now. Dependencies changed by this run may have changed these resources too, even to their
    /// desired state; changes by anyone else make the step stale.
    async fn recheck_step<'s>(
        &self,
        step: &'s [PlannedChange],
        running: &RunProgress<'_>,
    ) -> Result<Vec<(&'s Address, Change<State>)>, Failure> {
        let plan = running.plan;
        let reader = H::reader(self.writer);
        let addresses: BTreeSet<_> = step.iter().map(|planned| &planned.address).collect();
        let depends_on_changed = |address: &&Address| running.depends_on_changed(address);
        let affected: BTreeSet<_> = addresses
            .iter()
            .copied()
            .filter(depends_on_changed)
            .collect();
        // All of the step together: what one of them needs another may bring.
        let again = if affected.is_empty() {
            vec![]
        } else {
            let wanted = plan.desired.iter();
            let wanted = wanted.filter(|wanted| addresses.contains(&wanted.address));
            let wanted = wanted.cloned().collect();
            let again = plan_desired(self.registry, &reader, &plan.host, wanted).await?;
            again.changes
        };
        let observed = observe(self.registry, &reader, addresses).await?;
        let mut changes = vec![];
        for planned in step {
            let address = &planned.address;
            if affected.contains(address) {
                let found = again.iter().find(|again| again.address == *address);
                changes.extend(found.map(|found| (address, found.change.clone())));
                continue;
            }
            let now = observed[address].clone();
            let schema = self.registry.provider_of(address)?.schema();
            if !merge::is_same_state(&schema, planned.change.before(), now.as_ref()) {
                return Err(Failure::Stale(vec![address.clone()]));
            }
            let change = Change::between(now, planned.change.after().cloned());
            changes.extend(change.map(|change| (address, change)));
        }
        Ok(changes)
    }

    /// Looks again until nothing is left to change, and returns what is there now; or what the steps have moved elsewhere,
    /// if that may still be mended.
    async fn verify(
        &self,
        running: &RunProgress<'_>,
        can_repair: bool,
    ) -> Result<Verification, Failure> {
        (self.observer)(&Event::Verifying);
        let plan = running.plan;
        for attempt in 1.. {
            let reader = H::reader(self.writer);
            let again =
                plan_desired(self.registry, &reader, &plan.host, plan.desired.clone()).await?;
            if again.is_empty() {
                let after = observe(self.registry, &reader, &running.changed).await?;
                return Ok(Verification::Converged(after));
            }
            let is_ours = |planned: &PlannedChange| running.depends_on_changed(&planned.address);
            if can_repair && again.changes.iter().all(is_ours) {
                return Ok(Verification::Diverged(again.changes));
            }
            if attempt == VERIFY_TRIES {
                return Err(Failure::Unverified(self.describe_changes(&again)));
            }
            tokio::time::sleep(VERIFY_PAUSE).await;
        }
        unreachable!("the loop returns")
    }

    fn describe_changes(&self, plan: &Plan) -> String {
        let describe = |planned: &PlannedChange| match &planned.change {
            Change::Create { .. } => format!("{} does not exist", planned.address),
            Change::Delete { .. } => format!("{} still exists", planned.address),
            Change::Update { before, after } => {
                let schema = self
                    .registry
                    .provider_of(&planned.address)
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

    async fn roll_back(
        &self,
        failure: &Failure,
        running: RunProgress<'_>,
        journal: &mut Journal,
    ) -> Outcome {
        let RunProgress {
            run,
            window,
            started,
            ..
        } = running;
        if let (Failure::Stale(addresses), []) = (failure, started.as_slice()) {
            let outcome = Outcome::Stale {
                addresses: addresses.clone(),
            };
            let end = RunEnd {
                run,
                window,
                after: BTreeMap::new(),
            };
            end.record(self, journal, &outcome).await;
            return outcome;
        }
        let reason = match failure {
            Failure::Check(..) | Failure::Health(..) => RollbackReason::Check,
            _ => RollbackReason::Failed,
        };
        let rollback = RollbackRun {
            run,
            cause: failure_chain(failure),
            reason,
            window,
            on_residue: OnResidue::Retry,
            earlier_tries: None,
            damaged_records: 0,
        };
        rollback.execute(self, &started, journal).await
    }
}

/// Groups neighbours of one kind as far as the kind takes several at once.
fn group_steps<H: Host>(
    registry: &Registry<H>,
    changes: &[PlannedChange],
) -> Vec<Vec<PlannedChange>> {
    let mut steps: Vec<Vec<PlannedChange>> = vec![];
    for planned in changes {
        let batch = registry
            .provider_of(&planned.address)
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

fn undone_run(plan: &Plan) -> Option<u64> {
    plan.changes
        .iter()
        .find_map(|planned| match planned.reason {
            Reason::Undo { run } => Some(run),
            Reason::Spec { .. } | Reason::Implied { .. } => None,
        })
}

fn failure_chain(failure: &Failure) -> Vec<String> {
    let mut lines = error_chain(failure);
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
