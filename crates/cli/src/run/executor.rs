//! What all commands share that change the host: the lock, the prompt, the run, and the wait for its confirmation.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use stead_engine::{
    history::{journal::Outcome, lock::Lock, state_dir::StateFolder},
    plan::document::Plan,
    run::{
        context::Apply,
        recover::{Persistence, recover},
    },
};
use stead_resources::host::Live;

use crate::{
    args::Consent,
    context::{Origin, Session},
    error::Failure,
    exit::Exit,
    render::{self, Progress},
    run::{
        confirmation::{Watcher, announcement, vigil},
        runner::Desk,
    },
};

/// How long whoever has the lock is waited for: it may be the one that looks whether the run is confirmed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked whether another run has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// The lock, the run folder and whoever watches.
pub(crate) struct Bench<'a> {
    desk: Desk<'a>,
    lock: Lock,
    /// What the spec of the plan was resolved from, if it is to be kept.
    origin: Option<Origin>,
}

impl<'a> Bench<'a> {
    /// Takes the lock and makes the run folder.
    pub(crate) fn set_up(session: &'a Session, as_json: bool) -> Result<Self, Failure> {
        let state = StateFolder::create(&session.state)?;
        let lock = Lock::acquire(&session.lock(), &state)?;
        let desk = Desk::new(session, state, Progress::new(as_json))?;
        Ok(Self {
            desk,
            lock,
            origin: None,
        })
    }

    /// Lets what the spec asks for be kept when the run has ended well.
    pub(crate) fn keeping(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// As [`Self::set_up`], but waits for whoever has the lock.
    pub(crate) fn set_up_within(
        session: &'a Session,
        as_json: bool,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let begin = Instant::now();
        loop {
            match Self::set_up(session, as_json) {
                Err(failure) if failure.exit() == Exit::Locked && begin.elapsed() < patience => {
                    sleep(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Lets each step wait for whoever reads.
    pub(crate) fn paced(mut self) -> Self {
        self.desk.progress = Arc::new(Progress::paced());
        self
    }

    /// Returns the run folder.
    pub(crate) fn state(&self) -> &StateFolder {
        &self.desk.state
    }

    /// Says that there was nothing to do, and keeps what the spec asks for.
    pub(crate) fn end_unchanged(&self, plan: &Plan) {
        self.desk.session.keep(self.origin.as_ref(), plan);
        self.desk.progress.unchanged();
    }

    /// Says how a run has ended.
    pub(crate) fn say_ended(&self, outcome: &Outcome) {
        self.desk.progress.end(outcome);
    }

    /// Puts the host back if a run was interrupted, or not confirmed in time.
    pub(crate) fn recover(&self, persistence: Persistence) -> Result<Option<Outcome>, Failure> {
        let outcome = self.work(async |apply, lock| recover(apply, lock, persistence).await)?;
        if let Some(outcome) = &outcome {
            self.desk.progress.recovered(outcome);
        }
        Ok(outcome)
    }

    /// Does something under the lock.
    pub(crate) fn work<T, E: Into<Failure>>(
        &self,
        work: impl AsyncFnOnce(&Apply<'_, Live>, &Lock) -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.desk
            .with_apply(async |apply| work(apply, &self.lock).await)
    }

    /// Shows a plan, asks, carries it out, and waits for its confirmation where that was asked for.
    pub(crate) fn carry_out(self, plan: &Plan, consent: &Consent) -> Result<Exit, Failure> {
        let Self {
            desk,
            mut lock,
            origin,
        } = self;
        if !consent.json {
            render::page(&desk.session.page_of(plan));
        }
        refuse_irreversible(plan, consent)?;
        let vigil = vigil(desk.session, plan, consent)?;
        if let Some(vigil) = &vigil {
            render::message(&announcement(vigil));
        }
        if !consent.yes && !desk.ask(plan)? {
            render::message("Nothing was done.\n");
            return Ok(Exit::Failed);
        }
        let window = vigil.as_ref().map(|vigil| vigil.window);
        desk.progress.begin(&plan.summary);
        let outcome = desk.with_apply(async |apply| apply.run(&mut lock, plan, window).await)?;
        if let Outcome::Done { .. } | Outcome::Pending { .. } = &outcome {
            desk.session.keep(origin.as_ref(), plan);
        }
        drop(lock);
        let (Outcome::Pending { run, .. }, Some(vigil)) = (&outcome, vigil) else {
            desk.progress.end(&outcome);
            return Ok(Exit::from(&outcome));
        };
        let watcher = Watcher::begin(&desk, vigil, *run);
        desk.progress.end(&outcome);
        watcher.wait(&desk, consent)
    }
}

/// What cannot be undone needs somebody who has read that it cannot.
fn refuse_irreversible(plan: &Plan, consent: &Consent) -> Result<(), Failure> {
    let is_asked = !consent.yes && render::can_ask();
    let first = plan.point_of_no_return().and_then(|place| {
        let planned = &plan.changes[place];
        let what = planned.effects.irreversible.as_ref()?;
        Some(format!("{} cannot be undone: {what}", planned.address))
    });
    match first.filter(|_| !consent.allow_irreversible && !is_asked) {
        Some(message) => Err(Failure::usage(
            message,
            "nothing was done; add `--allow-irreversible` once you have read the plan",
        )),
        None => Ok(()),
    }
}
