//! What all commands share that change the host: the lock, the prompt, the run, and the wait for its confirmation.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use stead_engine::{
    history::{journal::Outcome, lock::Lock, state_dir::StateDir},
    plan::document::Plan,
    run::{
        context::RunContext,
        recover::{OnResidue, recover},
    },
};
use stead_resources::host::LinuxHost;

use crate::{
    args::RunOptions,
    context::{Context, SpecOrigin},
    error::CommandError,
    exit::Exit,
    render::{self, Progress},
    run::{
        confirmation::{ConfirmWaiter, confirm_policy, notice},
        runner::Runner,
    },
};

/// How long whoever has the lock is waited for: it may be the one that looks whether the run is confirmed.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_mins(1);
/// How often it is looked whether another run has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The lock, the run directory and whoever watches.
pub(crate) struct LockedRunner<'a> {
    runner: Runner<'a>,
    lock: Lock,
    /// What the spec of the plan was resolved from, if it is to be kept.
    origin: Option<SpecOrigin>,
}

impl<'a> LockedRunner<'a> {
    /// Takes the lock and makes the run directory.
    pub(crate) fn lock(context: &'a Context, as_json: bool) -> Result<Self, CommandError> {
        let state = StateDir::create(&context.state_dir)?;
        let lock = Lock::acquire(&context.lock_path(), &state)?;
        let runner = Runner::new(context, state, Progress::new(as_json))?;
        Ok(Self {
            runner,
            lock,
            origin: None,
        })
    }

    /// Lets what the spec asks for be kept when the run has ended well.
    pub(crate) fn with_spec_origin(mut self, origin: Option<SpecOrigin>) -> Self {
        self.origin = origin;
        self
    }

    /// As [`Self::lock`], but waits for whoever has the lock.
    pub(crate) fn lock_within(
        context: &'a Context,
        as_json: bool,
        timeout: Duration,
    ) -> Result<Self, CommandError> {
        let begin = Instant::now();
        loop {
            match Self::lock(context, as_json) {
                Err(failure) if failure.exit() == Exit::Locked && begin.elapsed() < timeout => {
                    sleep(POLL_INTERVAL);
                }
                other => return other,
            }
        }
    }

    /// Lets each step wait for whoever reads.
    pub(crate) fn step_by_step(mut self) -> Self {
        self.runner.progress = Arc::new(Progress::step_by_step());
        self
    }

    /// Returns the run directory.
    pub(crate) fn state(&self) -> &StateDir {
        &self.runner.state
    }

    /// Says that there was nothing to do, and keeps what the spec asks for.
    pub(crate) fn end_unchanged(&self, plan: &Plan) {
        self.runner.context.store_cached(self.origin.as_ref(), plan);
        self.runner.progress.show_unchanged();
    }

    /// Says how a run has ended.
    pub(crate) fn show_outcome(&self, outcome: &Outcome) {
        self.runner.progress.show_outcome(outcome);
    }

    /// Puts the host back if a run was interrupted, or not confirmed in time.
    pub(crate) fn recover(&self, persistence: OnResidue) -> Result<Option<Outcome>, CommandError> {
        let outcome =
            self.with_lock(async |apply, lock| recover(apply, lock, persistence).await)?;
        if let Some(outcome) = &outcome {
            self.runner.progress.show_recovered(outcome);
        }
        Ok(outcome)
    }

    /// Does something under the lock.
    pub(crate) fn with_lock<T, E: Into<CommandError>>(
        &self,
        work: impl AsyncFnOnce(&RunContext<'_, LinuxHost>, &Lock) -> Result<T, E>,
    ) -> Result<T, CommandError> {
        self.runner
            .with_context(async |apply| work(apply, &self.lock).await)
    }

    /// Shows a plan, asks, carries it out, and waits for its confirmation where that was asked for.
    pub(crate) fn execute(self, plan: &Plan, options: &RunOptions) -> Result<Exit, CommandError> {
        let Self {
            runner,
            mut lock,
            origin,
        } = self;
        if !options.json {
            render::print_text(&runner.context.render_plan(plan));
        }
        refuse_irreversible(plan, options)?;
        let policy = confirm_policy(runner.context, plan, options)?;
        if let Some(policy) = &policy {
            render::eprint_message(&notice(policy));
        }
        if !options.yes && !runner.prompt(plan)? {
            render::eprint_message("Nothing was done.\n");
            return Ok(Exit::Failed);
        }
        let window = policy.as_ref().map(|policy| policy.window);
        runner.progress.start(&plan.summary);
        let outcome =
            runner.with_context(async |apply| apply.run(&mut lock, plan, window).await)?;
        if let Outcome::Done { .. } | Outcome::Pending { .. } = &outcome {
            runner.context.store_cached(origin.as_ref(), plan);
        }
        drop(lock);
        let (Outcome::Pending { run, .. }, Some(policy)) = (&outcome, policy) else {
            runner.progress.show_outcome(&outcome);
            return Ok(Exit::from(&outcome));
        };
        let waiter = ConfirmWaiter::begin(&runner, policy, *run);
        runner.progress.show_outcome(&outcome);
        waiter.wait(&runner, options)
    }
}

/// What cannot be undone needs somebody who has read that it cannot.
fn refuse_irreversible(plan: &Plan, options: &RunOptions) -> Result<(), CommandError> {
    let is_interactive = !options.yes && render::is_interactive();
    let first = plan.point_of_no_return().and_then(|place| {
        let planned = &plan.changes[place];
        let what = planned.effects.irreversible.as_ref()?;
        Some(format!("{} cannot be undone: {what}", planned.address))
    });
    match first.filter(|_| !options.allow_irreversible && !is_interactive) {
        Some(message) => Err(CommandError::usage(
            message,
            "nothing was done; add `--allow-irreversible` once you have read the plan",
        )),
        None => Ok(()),
    }
}
