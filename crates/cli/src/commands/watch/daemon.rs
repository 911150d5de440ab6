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
        state_dir::StateFolder,
    },
    model::address::Address,
    plan::{
        cause::Cause,
        dependencies::affected,
        document::{Plan, PlannedChange, Scope, Wanted},
    },
    run::recover::Newest,
    watch::{
        backoff::{Blame, Bouts, Judgement},
        planning::{feeding, plan_what_can_be, runtime},
    },
};
use stead_resources::host::{Culprit, Lookout, Reader, Stirred, Trigger};

use crate::{
    args::Watch,
    commands::watch::{
        metrics::{self, Figures},
        systemd_notify::{self, PULSE, pulse, tell},
    },
    context::Session,
    error::Failure,
    exit::Exit,
    render::{self, Progress},
    run::runner::Desk,
};

/// How often everything is looked at, whatever was heard.
const EVERY: Duration = Duration::from_mins(5);
/// How often it is looked whether somebody else's run has ended.
const OTHERS: Duration = Duration::from_millis(200);
/// How long the first pause after a failure is; each further one is twice as long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Looks within [`RUSH`] that found nothing, after which there is a pause before the next one.
const IDLE_LOOKS: usize = 10;
/// In how short a time those count, and how long that pause is.
const RUSH: Duration = Duration::from_secs(1);
/// How often the figures are written when nothing happens.
const FIGURES: Duration = Duration::from_mins(1);

/// Stays until somebody asks it to end.
pub(super) fn stand_guard(session: &Session, args: &Watch) -> Result<Exit, Failure> {
    let state = StateFolder::create(&session.state)?;
    let desk = Desk::new(session, state, Progress::quiet(args.json))?;
    let mut guardian = Guardian::new(desk, args)?;
    tell(&[NotifyState::Ready]);
    while !guardian.desk.is_stopped() {
        tell(&[NotifyState::Watchdog]);
        guardian.hear(Blame::Others)?;
        if guardian.has_work() && Instant::now() >= guardian.not_before {
            guardian.look_and_count();
        }
        guardian.say_figures();
    }
    tell(&[NotifyState::Stopping]);
    Ok(Exit::Done)
}

/// Whoever stays and watches.
struct Guardian<'a> {
    desk: Desk<'a>,
    lookout: Lookout,
    /// The name of the host in the spec.
    host: String,
    /// What runs have asked for, of kinds that others overwrite.
    wanted: Vec<Wanted>,
    /// The newest run that this follows from, 0 if there was none; `None` before the first look. Those of this watch change nothing.
    newest: Option<u64>,
    /// Whether a run of somebody else is under way, or has ended and was not read yet.
    is_behind: bool,
    /// What may have moved with each trigger.
    moved_with: BTreeMap<Trigger, BTreeSet<Address>>,
    /// What may have moved.
    pending: BTreeSet<Address>,
    /// When it may be looked at.
    not_before: Instant,
    /// When everything is looked at again.
    next_look: Instant,
    bouts: Bouts<Culprit>,
    /// When looks found nothing, the newest last.
    idle: VecDeque<Instant>,
    /// Failures since something went well.
    failures: u32,
    figures: Figures,
    figures_file: Option<PathBuf>,
    next_figures: Instant,
    /// What was said already and need not be said again.
    said: BTreeSet<String>,
}

impl<'a> Guardian<'a> {
    fn new(desk: Desk<'a>, args: &Watch) -> Result<Self, Failure> {
        let lookout = reader(&desk)
            .look_out(BTreeSet::from([runs(&desk)]))
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        let now = Instant::now();
        Ok(Self {
            desk,
            lookout,
            host: String::new(),
            wanted: vec![],
            newest: None,
            is_behind: true,
            moved_with: BTreeMap::new(),
            pending: BTreeSet::new(),
            not_before: now,
            next_look: now + EVERY,
            bouts: Bouts::default(),
            idle: VecDeque::new(),
            failures: 0,
            figures: Figures {
                watched: 0,
                looks: 0,
                failures: 0,
                last_good: None,
            },
            figures_file: args.metrics.clone(),
            next_figures: now,
            said: BTreeSet::new(),
        })
    }

    /// Reads what runs have asked for, and looks out for all that may move it.
    fn load(&mut self) -> Result<(), Failure> {
        let (host, wanted) = committed(&self.desk.state)?.unwrap_or_default();
        self.host = host;
        self.wanted = runtime(&self.desk.session.registry, wanted);
        self.moved_with.clear();
        for wanted in &self.wanted {
            let kind = self.desk.session.registry.of(&wanted.address);
            let kind = kind.ok().and_then(|kind| kind.watchable());
            let desired = wanted.desired.state();
            let triggers = kind.map(|kind| kind.triggers(&wanted.address.name, desired));
            for trigger in triggers.unwrap_or_default() {
                let moved = self.moved_with.entry(trigger).or_default();
                moved.insert(wanted.address.clone());
            }
        }
        let mut triggers: BTreeSet<Trigger> = self.moved_with.keys().cloned().collect();
        triggers.insert(runs(&self.desk));
        self.lookout = reader(&self.desk)
            .look_out(triggers)
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        self.figures.watched = self.wanted.len();
        self.said.clear();
        let message = match self.wanted.len() {
            1 => "Watching 1 resource.\n".to_owned(),
            count => format!("Watching {count} resources.\n"),
        };
        render::message(&message);
        self.say_status();
        Ok(())
    }

    /// Takes everything as moved.
    fn consider_all(&mut self) {
        let all = self.wanted.iter().map(|wanted| wanted.address.clone());
        self.pending = all
            .filter(|address| !self.bouts.is_given_up(address))
            .collect();
        self.next_look = Instant::now() + EVERY;
    }

    /// Whether there is anything to look at.
    fn has_work(&self) -> bool {
        self.is_behind || !self.pending.is_empty()
    }

    /// Waits until something moves, or until it is time to look.
    fn hear(&mut self, blame: Blame) -> Result<(), Failure> {
        let now = Instant::now();
        let mut until = self.next_look.min(now + PULSE);
        if self.has_work() {
            until = until.min(self.not_before);
        }
        if blame == Blame::Nobody {
            until = now;
        }
        let stirred = self
            .lookout
            .wait(until.saturating_duration_since(now))
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        let mut is_of_others = false;
        for Stirred { trigger, by } in stirred {
            is_of_others |= trigger == runs(&self.desk);
            for address in self.moved_with.get(&trigger).into_iter().flatten() {
                if self.bouts.is_given_up(address) {
                    continue;
                }
                self.pending.insert(address.clone());
                if let Some(by) = by.as_ref().filter(|_| blame == Blame::Others) {
                    self.bouts.accuse(address, by.clone(), Instant::now());
                }
            }
        }
        self.is_behind |=
            is_of_others && Some(self.desk.state.latest_run()?.unwrap_or(0)) != self.newest;
        if Instant::now() >= self.next_look {
            self.consider_all();
        }
        Ok(())
    }

    /// Looks, and waits longer after each failure.
    fn look_and_count(&mut self) {
        let is_done = AtomicBool::new(false);
        let looked = thread::scope(|scope| {
            let pulse = scope.spawn(|| pulse(&is_done));
            let looked = self.look();
            is_done.store(true, Ordering::Relaxed);
            pulse.thread().unpark();
            looked
        });
        match looked {
            Ok(()) => self.failures = 0,
            Err(failure) => {
                self.figures.failures += 1;
                let pause = AFTER_FAILURE * (1 << self.failures.min(6));
                self.failures += 1;
                self.not_before = Instant::now() + pause.min(EVERY);
                failure.print(false);
            }
        }
        self.next_figures = Instant::now();
    }

    /// Looks at what may have moved, and brings it back.
    fn look(&mut self) -> Result<(), Failure> {
        if !self.is_ours()? {
            return Ok(());
        }
        loop {
            self.figures.looks += 1;
            let mut wanted = affected(&self.wanted, &self.pending);
            wanted.retain(|wanted| !self.bouts.is_given_up(&wanted.address));
            let plan = self.plan(wanted)?;
            if plan.is_empty() {
                self.find_nothing();
                return Ok(());
            }
            match self.bouts.judge(&plan, Instant::now()) {
                Judgement::GiveUp(fought_over) => {
                    for (address, why) in fought_over {
                        self.give_up(&address, &why);
                        let registry = &self.desk.session.registry;
                        for fed in feeding(registry, &plan, &address, &self.wanted) {
                            let why = format!("it would require {address}");
                            self.give_up(&fed, &why);
                        }
                    }
                }
                Judgement::NotBefore(then) => {
                    self.not_before = then;
                    return Ok(());
                }
                Judgement::Now => return self.bring_back(&plan),
            }
        }
    }

    /// Whether no other run stands in the way. One that was interrupted is put back; others are waited for.
    fn is_ours(&mut self) -> Result<bool, Failure> {
        let newest = Newest::find(&self.desk.state)?;
        let run = newest.as_ref().map_or(0, |newest| newest.run);
        match newest.map(|newest| newest.stage) {
            None | Some(Stage::Ended(_)) => {}
            Some(Stage::Pending(_)) => {
                self.not_before = Instant::now() + OTHERS;
                return Ok(false);
            }
            Some(Stage::Begun | Stage::GoingBack { .. }) => {
                self.not_before = Instant::now() + OTHERS;
                self.have_recovered()?;
                return Ok(false);
            }
        }
        if self.newest != Some(run) {
            let before = self.newest.unwrap_or(0);
            let is_as_asked_for = runs::is_as_asked_for(&self.desk.state, before)?;
            self.newest = Some(run);
            if !is_as_asked_for {
                self.bouts.begin_anew();
            }
            self.load()?;
            self.consider_all();
        }
        self.is_behind = false;
        Ok(true)
    }

    /// Has an interrupted run taken back, by another process: it may be the one that has started this one.
    fn have_recovered(&mut self) -> Result<(), Failure> {
        // A run that was under way when it was looked at may have ended before the lock was free.
        let is_interrupted = self.desk.work_if_free(async |apply, _| {
            let newest = Newest::find(apply.state)?;
            let stage = newest.map(|newest| newest.stage);
            Ok::<_, Failure>(matches!(
                stage,
                Some(Stage::Begun | Stage::GoingBack { .. })
            ))
        })?;
        if is_interrupted == Some(true) {
            self.not_before = Instant::now() + AFTER_FAILURE;
            let writer = self.desk.session.writer();
            let asked = self.desk.block_on(stead_resources::have_recovered(&writer));
            asked.map_err(|error| Failure::of(Exit::Failed, &error))?;
        }
        Ok(())
    }

    fn plan(&mut self, wanted: Vec<Wanted>) -> Result<Plan, Failure> {
        let host = self.host.clone();
        let said = &mut self.said;
        let say = |left_out: &str| {
            if said.insert(left_out.to_owned()) {
                render::message(left_out);
            }
        };
        let session = self.desk.session;
        let needs_init = |wanted: &Wanted| {
            let kind = session.registry.of(&wanted.address);
            kind.is_ok_and(|kind| kind.schema().lifecycle.needs_init)
        };
        let is_of_microk8s = wanted.iter().any(needs_init);
        let mut plan = session.confined(async |registry, reader| {
            if is_of_microk8s {
                stead_resources::wait_until_settled(reader).await;
            }
            plan_what_can_be(registry, reader, &host, wanted, say).await
        })??;
        for planned in &mut plan.changes {
            planned.cause = self
                .bouts
                .newest(&planned.address)
                .map(|by| Cause::Changed {
                    run: self.newest.unwrap_or_default(),
                    evidence: format!("by {by}"),
                });
        }
        Ok(plan.scoped(Scope::Restore))
    }

    fn find_nothing(&mut self) {
        let now = Instant::now();
        self.pending.clear();
        self.figures.last_good = Some(Timestamp::now());
        self.idle.push_back(now);
        while self
            .idle
            .front()
            .is_some_and(|look| now.duration_since(*look) > RUSH)
        {
            self.idle.pop_front();
        }
        if self.idle.len() > IDLE_LOOKS {
            self.not_before = now + RUSH;
        }
    }

    /// Leaves something alone, and says so loudly.
    fn give_up(&mut self, address: &Address, why: &str) {
        if self.bouts.is_given_up(address) {
            return;
        }
        let why = render::plain(why);
        let name = render::plain(&address.to_string());
        // The priority of an error, for the journal: sd-daemon(3).
        render::message(&format!(
            "<3>No longer restoring {name}: {why}.\n\
             <3>Stop the program that changes it, then run `systemctl restart stead-watch` or apply a spec.\n"
        ));
        self.bouts.give_up(address, why);
        self.pending.remove(address);
        self.say_status();
    }

    fn bring_back(&mut self, plan: &Plan) -> Result<(), Failure> {
        let newest = self.newest;
        let outcome = self.desk.work_if_free(async |apply, lock| {
            // Another run may have begun and ended since the plan was made.
            if Some(apply.state.latest_run()?.unwrap_or(0)) != newest {
                return Ok(None);
            }
            let outcome = apply.run(lock, plan, None).await;
            outcome.map(Some).map_err(Failure::from)
        })?;
        let now = Instant::now();
        match outcome.flatten() {
            // Somebody else is at work, or was.
            None => {
                self.is_behind = true;
                self.not_before = now + OTHERS;
                return Ok(());
            }
            Some(Outcome::Stale { .. }) => {
                self.newest = Some(self.desk.state.latest_run()?.unwrap_or(0));
                self.note_vain(plan);
                return Ok(());
            }
            Some(Outcome::Done { run }) => {
                self.newest = Some(run);
                let changed = runs::changed(&self.desk.state, run)?;
                let is_changed = |planned: &&PlannedChange| changed.contains(&planned.address);
                for planned in plan.changes.iter().filter(is_changed) {
                    let is_restart = !planned.effects.restarts.is_empty();
                    let by = self.bouts.newest(&planned.address);
                    let by = by.map_or_else(String::new, |by| format!("; changed by {by}"));
                    self.bouts.note(&planned.address, is_restart, now);
                    self.bouts.count(&planned.address);
                    render::message(&format!(
                        "Restored {} (run {run}){}.\n",
                        render::plain(&planned.address.to_string()),
                        render::plain(&by)
                    ));
                }
                self.pending.clear();
                self.figures.last_good = Some(Timestamp::now());
                self.say_status();
                // What is heard now is mostly our own doing.
                return self.hear(Blame::Nobody);
            }
            Some(outcome) => {
                self.newest = Some(self.desk.state.latest_run()?.unwrap_or(0));
                self.desk.progress.end(&outcome);
                // Somebody who has set it back while the run was under way makes it a round like any other.
                self.hear(Blame::Others)?;
                let mut addresses = plan.changes.iter().map(|planned| &planned.address);
                if addresses.any(|address| self.bouts.is_contested(address)) {
                    self.note_vain(plan);
                    return Ok(());
                }
            }
        }
        Err(Failure::new(
            Exit::Failed,
            "what was overwritten could not be restored",
            "`stead history` shows the run; the watch tries again later",
        ))
    }

    /// Notes a round in which somebody else was quicker.
    fn note_vain(&mut self, plan: &Plan) {
        for planned in &plan.changes {
            self.bouts.note(&planned.address, false, Instant::now());
        }
    }

    fn say_status(&self) {
        let status = systemd_notify::status(self.wanted.len(), &self.bouts);
        tell(&[NotifyState::Status(&status)]);
    }

    /// Writes the figures if it is time.
    fn say_figures(&mut self) {
        if Instant::now() < self.next_figures {
            return;
        }
        self.next_figures = Instant::now() + FIGURES;
        let text = metrics::text(&self.figures, &self.bouts);
        let writer = self.desk.session.writer();
        for error in metrics::write(&writer, self.figures_file.as_deref(), &text) {
            let message = format!("{error}\n");
            if self.said.insert(message.clone()) {
                render::message(&message);
            }
        }
    }
}

/// Returns what tells that somebody has begun a run.
fn runs(desk: &Desk<'_>) -> Trigger {
    Trigger::Path(desk.session.state.join("runs"))
}

fn reader(desk: &Desk<'_>) -> Reader {
    Reader::new(&desk.session.root)
}
