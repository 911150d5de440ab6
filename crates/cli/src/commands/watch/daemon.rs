//! `stead watch`: the service that listens to triggers and restores drifted state.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sd_notify::NotifyState;
use stead_engine::{
    history::{
        journal::Outcome,
        runs::{self, committed},
        stage::Stage,
        state_dir::StateDir,
    },
    model::address::Address,
    plan::{
        cause::Cause,
        dependencies::affected,
        document::{DesiredResource, Plan, PlannedChange, Scope},
    },
    run::recover::LatestRun,
    watch::{
        backoff::{Attribution, PlanDecision, RestoreHistory},
        planning::{plan_possible, restart_inputs, runtime_resources},
    },
};
use stead_resources::host::{Process, Reader, Trigger, TriggerEvent, Watcher};

use crate::{
    args::WatchArgs,
    commands::watch::{
        metrics::{self, Metrics},
        systemd_notify::{self, WATCHDOG_INTERVAL, keep_alive, notify},
    },
    context::Context,
    error::CommandError,
    exit::Exit,
    render::{self, Progress},
    run::runner::Runner,
};

/// How often everything is looked at, whatever was heard.
const FULL_CHECK_INTERVAL: Duration = Duration::from_mins(5);
/// How often it is looked whether somebody else's run has ended.
const OTHER_RUN_POLL: Duration = Duration::from_millis(200);
/// How long the first pause after a failure is; each further one is twice as long.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Looks within [`IDLE_WINDOW`] that found nothing, after which there is a pause before the next one.
const MAX_IDLE_CHECKS: usize = 10;
/// In how short a time those count, and how long that pause is.
const IDLE_WINDOW: Duration = Duration::from_secs(1);
/// How often the figures are written when nothing happens.
const METRICS_INTERVAL: Duration = Duration::from_mins(1);

/// Stays until somebody asks it to end.
pub(super) fn run_daemon(context: &Context, args: &WatchArgs) -> Result<Exit, CommandError> {
    let state = StateDir::create(&context.state_dir)?;
    let runner = Runner::new(context, state, Progress::quiet(args.json))?;
    let mut daemon = WatchDaemon::new(runner, args)?;
    notify(&[NotifyState::Ready]);
    while !daemon.runner.is_stop_requested() {
        notify(&[NotifyState::Watchdog]);
        daemon.wait_for_events(Attribution::Record)?;
        if daemon.has_work() && Instant::now() >= daemon.not_before {
            daemon.reconcile_with_backoff();
        }
        daemon.write_metrics();
    }
    notify(&[NotifyState::Stopping]);
    Ok(Exit::Done)
}

/// Whoever stays and watches.
struct WatchDaemon<'a> {
    runner: Runner<'a>,
    watcher: Watcher,
    /// The name of the host in the spec.
    host: String,
    /// What runs have asked for, of kinds that others overwrite.
    wanted: Vec<DesiredResource>,
    /// The newest run that this follows from, 0 if there was none; `None` before the first look. Those of this watch change nothing.
    last_run: Option<u64>,
    /// Whether a run of somebody else is under way, or has ended and was not read yet.
    has_unread_run: bool,
    /// What may have moved with each trigger.
    by_trigger: BTreeMap<Trigger, BTreeSet<Address>>,
    /// What may have moved.
    pending: BTreeSet<Address>,
    /// When it may be looked at.
    not_before: Instant,
    /// When everything is looked at again.
    next_full_check: Instant,
    history: RestoreHistory<Process>,
    /// When looks found nothing, the newest last.
    idle_checks: VecDeque<Instant>,
    /// Failures since something went well.
    failures: u32,
    metrics: Metrics,
    metrics_file: Option<PathBuf>,
    next_metrics: Instant,
    /// What was said already and need not be said again.
    reported: BTreeSet<String>,
}

impl<'a> WatchDaemon<'a> {
    fn new(runner: Runner<'a>, args: &WatchArgs) -> Result<Self, CommandError> {
        let watcher = Reader::new(&runner.context.root)
            .watch(BTreeSet::from([run_trigger(&runner)]))
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        let now = Instant::now();
        Ok(Self {
            runner,
            watcher,
            host: String::new(),
            wanted: vec![],
            last_run: None,
            has_unread_run: true,
            by_trigger: BTreeMap::new(),
            pending: BTreeSet::new(),
            not_before: now,
            next_full_check: now + FULL_CHECK_INTERVAL,
            history: RestoreHistory::default(),
            idle_checks: VecDeque::new(),
            failures: 0,
            metrics: Metrics {
                watched: 0,
                checks: 0,
                failures: 0,
                last_good: None,
            },
            metrics_file: args.metrics.clone(),
            next_metrics: now,
            reported: BTreeSet::new(),
        })
    }

    /// Reads what runs have asked for, and looks out for all that may move it.
    fn load_desired(&mut self) -> Result<(), CommandError> {
        let (host, wanted) = committed(&self.runner.state)?.unwrap_or_default();
        self.host = host;
        self.wanted = runtime_resources(&self.runner.context.registry, wanted);
        self.by_trigger.clear();
        for wanted in &self.wanted {
            let kind = self.runner.context.registry.provider_of(&wanted.address);
            let kind = kind.ok().and_then(|kind| kind.watchable());
            let desired = wanted.desired.state();
            let triggers = kind.map(|kind| kind.triggers(&wanted.address.name, desired));
            for trigger in triggers.unwrap_or_default() {
                let moved = self.by_trigger.entry(trigger).or_default();
                moved.insert(wanted.address.clone());
            }
        }
        let mut triggers: BTreeSet<Trigger> = self.by_trigger.keys().cloned().collect();
        triggers.insert(run_trigger(&self.runner));
        self.watcher = Reader::new(&self.runner.context.root)
            .watch(triggers)
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        self.metrics.watched = self.wanted.len();
        self.reported.clear();
        let message = match self.wanted.len() {
            1 => "Watching 1 resource.\n".to_owned(),
            count => format!("Watching {count} resources.\n"),
        };
        render::eprint_message(&message);
        self.notify_status();
        Ok(())
    }

    /// Takes everything as moved.
    fn mark_all_pending(&mut self) {
        let all = self.wanted.iter().map(|wanted| wanted.address.clone());
        self.pending = all
            .filter(|address| !self.history.is_suspended(address))
            .collect();
        self.next_full_check = Instant::now() + FULL_CHECK_INTERVAL;
    }

    /// Whether there is anything to look at.
    fn has_work(&self) -> bool {
        self.has_unread_run || !self.pending.is_empty()
    }

    /// Waits until something moves, or until it is time to look.
    fn wait_for_events(&mut self, attribution: Attribution) -> Result<(), CommandError> {
        let now = Instant::now();
        let mut until = self.next_full_check.min(now + WATCHDOG_INTERVAL);
        if self.has_work() {
            until = until.min(self.not_before);
        }
        if attribution == Attribution::Ignore {
            until = now;
        }
        let events = self
            .watcher
            .wait(until.saturating_duration_since(now))
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        let mut is_of_others = false;
        for TriggerEvent { trigger, process } in events {
            is_of_others |= trigger == run_trigger(&self.runner);
            for address in self.by_trigger.get(&trigger).into_iter().flatten() {
                if self.history.is_suspended(address) {
                    continue;
                }
                self.pending.insert(address.clone());
                if let Some(process) = process
                    .as_ref()
                    .filter(|_| attribution == Attribution::Record)
                {
                    self.history
                        .record_writer(address, process.clone(), Instant::now());
                }
            }
        }
        self.has_unread_run |=
            is_of_others && Some(self.runner.state.latest_run()?.unwrap_or(0)) != self.last_run;
        if Instant::now() >= self.next_full_check {
            self.mark_all_pending();
        }
        Ok(())
    }

    /// Looks, and waits longer after each failure.
    fn reconcile_with_backoff(&mut self) {
        let is_done = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let keep_alive = scope.spawn(|| keep_alive(&is_done));
            let result = self.reconcile();
            is_done.store(true, Ordering::Relaxed);
            keep_alive.thread().unpark();
            result
        });
        match result {
            Ok(()) => self.failures = 0,
            Err(failure) => {
                self.metrics.failures += 1;
                let pause = FIRST_RETRY_DELAY * (1 << self.failures.min(6));
                self.failures += 1;
                self.not_before = Instant::now() + pause.min(FULL_CHECK_INTERVAL);
                failure.print(false);
            }
        }
        self.next_metrics = Instant::now();
    }

    /// Looks at what may have moved, and brings it back.
    fn reconcile(&mut self) -> Result<(), CommandError> {
        if !self.can_proceed()? {
            return Ok(());
        }
        loop {
            self.metrics.checks += 1;
            let mut wanted = affected(&self.wanted, &self.pending);
            wanted.retain(|wanted| !self.history.is_suspended(&wanted.address));
            let plan = self.plan(wanted)?;
            if plan.is_empty() {
                self.on_no_drift();
                return Ok(());
            }
            match self.history.decide(&plan, Instant::now()) {
                PlanDecision::Suspend(suspended) => {
                    for (address, why) in suspended {
                        self.suspend(&address, &why);
                        let registry = &self.runner.context.registry;
                        for fed in restart_inputs(registry, &plan, &address, &self.wanted) {
                            let why = format!("it would require {address}");
                            self.suspend(&fed, &why);
                        }
                    }
                }
                PlanDecision::NotBefore(then) => {
                    self.not_before = then;
                    return Ok(());
                }
                PlanDecision::Restore => return self.restore(&plan),
            }
        }
    }

    /// Whether no other run stands in the way. One that was interrupted is put back; others are waited for.
    fn can_proceed(&mut self) -> Result<bool, CommandError> {
        let newest = LatestRun::load(&self.runner.state)?;
        let run = newest.as_ref().map_or(0, |newest| newest.run);
        match newest.map(|newest| newest.stage) {
            None | Some(Stage::Ended(_)) => {}
            Some(Stage::Pending(_)) => {
                self.not_before = Instant::now() + OTHER_RUN_POLL;
                return Ok(false);
            }
            Some(Stage::Started | Stage::RollingBack { .. }) => {
                self.not_before = Instant::now() + OTHER_RUN_POLL;
                self.start_recovery()?;
                return Ok(false);
            }
        }
        if self.last_run != Some(run) {
            let before = self.last_run.unwrap_or(0);
            let is_request_unchanged = runs::request_unchanged_since(&self.runner.state, before)?;
            self.last_run = Some(run);
            if !is_request_unchanged {
                self.history.reset();
            }
            self.load_desired()?;
            self.mark_all_pending();
        }
        self.has_unread_run = false;
        Ok(true)
    }

    /// Has an interrupted run rolled back, by another process: it may be the one that has started this one.
    fn start_recovery(&mut self) -> Result<(), CommandError> {
        // A run that was under way when it was looked at may have ended before the lock was free.
        let is_interrupted = self.runner.try_with_lock(async |apply, _| {
            let newest = LatestRun::load(apply.state)?;
            let stage = newest.map(|newest| newest.stage);
            Ok::<_, CommandError>(matches!(
                stage,
                Some(Stage::Started | Stage::RollingBack { .. })
            ))
        })?;
        if is_interrupted == Some(true) {
            self.not_before = Instant::now() + FIRST_RETRY_DELAY;
            let writer = self.runner.context.writer();
            let asked = self
                .runner
                .block_on(stead_resources::start_recovery_unit(&writer));
            asked.map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        }
        Ok(())
    }

    fn plan(&mut self, wanted: Vec<DesiredResource>) -> Result<Plan, CommandError> {
        let host = self.host.clone();
        let reported = &mut self.reported;
        let report = |left_out: &str| {
            if reported.insert(left_out.to_owned()) {
                render::eprint_message(left_out);
            }
        };
        let context = self.runner.context;
        let needs_init = |wanted: &DesiredResource| {
            let kind = context.registry.provider_of(&wanted.address);
            kind.is_ok_and(|kind| kind.schema().lifecycle.needs_init)
        };
        let is_of_microk8s = wanted.iter().any(needs_init);
        let mut plan = context.try_run_read_only(async |registry, reader| {
            if is_of_microk8s {
                stead_resources::wait_until_settled(reader).await;
            }
            plan_possible(registry, reader, &host, wanted, report).await
        })?;
        for planned in &mut plan.changes {
            let writer = self.history.last_writer(&planned.address);
            planned.cause = writer.map(|by| Cause::Modified {
                run: self.last_run.unwrap_or_default(),
                evidence: format!("by {by}"),
            });
        }
        Ok(plan.with_scope(Scope::Restore))
    }

    fn on_no_drift(&mut self) {
        let now = Instant::now();
        self.pending.clear();
        self.metrics.last_good = Some(Timestamp::now());
        self.idle_checks.push_back(now);
        while self
            .idle_checks
            .front()
            .is_some_and(|look| now.duration_since(*look) > IDLE_WINDOW)
        {
            self.idle_checks.pop_front();
        }
        if self.idle_checks.len() > MAX_IDLE_CHECKS {
            self.not_before = now + IDLE_WINDOW;
        }
    }

    /// Leaves something alone, and says so loudly.
    fn suspend(&mut self, address: &Address, why: &str) {
        if self.history.is_suspended(address) {
            return;
        }
        let why = render::escape_control(why);
        let name = render::escape_control(&address.to_string());
        // The priority of an error, for the journal: sd-daemon(3).
        render::eprint_message(&format!(
            "<3>No longer restoring {name}: {why}.\n\
             <3>Stop the program that changes it, then run `systemctl restart stead-watch` or apply a spec.\n"
        ));
        self.history.suspend(address, why);
        self.pending.remove(address);
        self.notify_status();
    }

    fn restore(&mut self, plan: &Plan) -> Result<(), CommandError> {
        let newest = self.last_run;
        let outcome = self.runner.try_with_lock(async |apply, lock| {
            // Another run may have begun and ended since the plan was made.
            if Some(apply.state.latest_run()?.unwrap_or(0)) != newest {
                return Ok(None);
            }
            let outcome = apply.run(lock, plan, None).await;
            outcome.map(Some).map_err(CommandError::from)
        })?;
        let now = Instant::now();
        match outcome.flatten() {
            // Somebody else is at work, or was.
            None => {
                self.has_unread_run = true;
                self.not_before = now + OTHER_RUN_POLL;
                return Ok(());
            }
            Some(Outcome::Stale { .. }) => {
                self.last_run = Some(self.runner.state.latest_run()?.unwrap_or(0));
                self.record_failed_round(plan);
                return Ok(());
            }
            Some(Outcome::Done { run }) => {
                self.last_run = Some(run);
                let changed = runs::changed_addresses(&self.runner.state, run)?;
                let is_changed = |planned: &&PlannedChange| changed.contains(&planned.address);
                for planned in plan.changes.iter().filter(is_changed) {
                    let is_restart = !planned.effects.restarts.is_empty();
                    let by = self.history.last_writer(&planned.address);
                    let by = by.map_or_else(String::new, |by| format!("; changed by {by}"));
                    self.history.record_round(&planned.address, is_restart, now);
                    self.history.count_restore(&planned.address);
                    render::eprint_message(&format!(
                        "Restored {} (run {run}){}.\n",
                        render::escape_control(&planned.address.to_string()),
                        render::escape_control(&by)
                    ));
                }
                self.pending.clear();
                self.metrics.last_good = Some(Timestamp::now());
                self.notify_status();
                // What is heard now is mostly our own doing.
                return self.wait_for_events(Attribution::Ignore);
            }
            Some(outcome) => {
                self.last_run = Some(self.runner.state.latest_run()?.unwrap_or(0));
                self.runner.progress.show_outcome(&outcome);
                // Somebody who has set it back while the run was under way makes it a round like any other.
                self.wait_for_events(Attribution::Record)?;
                let mut addresses = plan.changes.iter().map(|planned| &planned.address);
                if addresses.any(|address| self.history.is_contested(address)) {
                    self.record_failed_round(plan);
                    return Ok(());
                }
            }
        }
        Err(CommandError::new(
            Exit::Failed,
            "what was overwritten could not be restored",
            "`stead history` shows the run; the watch tries again later",
        ))
    }

    /// Notes a round in which somebody else was quicker.
    fn record_failed_round(&mut self, plan: &Plan) {
        for planned in &plan.changes {
            self.history
                .record_round(&planned.address, false, Instant::now());
        }
    }

    fn notify_status(&self) {
        let status = systemd_notify::status(self.wanted.len(), &self.history);
        notify(&[NotifyState::Status(&status)]);
    }

    /// Writes the figures if it is time.
    fn write_metrics(&mut self) {
        if Instant::now() < self.next_metrics {
            return;
        }
        self.next_metrics = Instant::now() + METRICS_INTERVAL;
        let text = metrics::text(&self.metrics, &self.history);
        let writer = self.runner.context.writer();
        for error in metrics::write(&writer, self.metrics_file.as_deref(), &text) {
            let message = format!("{error}\n");
            if self.reported.insert(message.clone()) {
                render::eprint_message(&message);
            }
        }
    }
}

/// Returns what tells that somebody has begun a run.
fn run_trigger(runner: &Runner<'_>) -> Trigger {
    Trigger::Path(runner.context.state_dir.join("runs"))
}
