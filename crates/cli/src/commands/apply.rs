//! `stead apply`, and what it shares with `undo` and `recover`: the lock, the question, the run.

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use stead_engine::{
    apply,
    event::Event,
    journal::Outcome,
    lock::Lock,
    plan::{self, FORMAT, Plan, Scope},
    recover::recover,
    state_folder::StateFolder,
};
use stead_resources::host::{Live, Writer};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::{Apply, Consent},
    exit::Exit,
    failure::Failure,
    render::{self, Progress},
    session::{Session, read_input, spec_path},
};

/// The lock, the run folder and whoever watches: all that changes the host goes through here.
pub(crate) struct Bench<'a> {
    session: &'a Session,
    lock: Lock,
    state: StateFolder,
    progress: Arc<Progress>,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
}

/// Plans, asks, applies and verifies.
pub(crate) fn apply(session: &Session, args: &Apply) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.as_deref())?;
    let input = Input::read(session, &path, &args.only.only)?;
    session.must_be_root("apply")?;
    let mut bench = Bench::set_up(session, args.consent.json)?;
    if let Some(outcome) = bench.recover()?
        && is_residue(&outcome)
    {
        return Ok(exit(&outcome));
    }
    let begin = Instant::now();
    let plan = match input {
        Input::Saved(plan) => *plan,
        Input::Spec(graph) => session
            .confined(async |registry, reader| plan::plan(registry, reader, &graph).await)??
            .scoped(scope(&args.only.only)),
    };
    if plan.is_empty() {
        if !args.consent.json {
            render::data(&render::no_changes(&plan, &path, begin.elapsed()));
        }
        bench.progress.unchanged();
        return Ok(Exit::Done);
    }
    refuse_too_costly(&plan, args)?;
    bench.carry_out(&plan, &args.consent)
}

/// Returns of how much of a spec a plan with `--only` is.
pub(crate) fn scope(only: &[String]) -> Scope {
    if only.is_empty() {
        Scope::Whole
    } else {
        Scope::Part
    }
}

/// What `apply` was given.
enum Input {
    Saved(Box<Plan>),
    Spec(Box<stead_engine::graph::Graph>),
}

impl Input {
    fn read(session: &Session, path: &Path, only: &[String]) -> Result<Self, Failure> {
        let Some(plan) = saved_plan(path)? else {
            return Ok(Self::Spec(Box::new(session.graph(path, only)?)));
        };
        if only.is_empty() {
            return Ok(Self::Saved(Box::new(plan)));
        }
        Err(Failure::usage(
            "a saved plan is carried out whole",
            "plan again with `--only`",
        ))
    }
}

/// Returns the plan that a file holds, if it holds one.
fn saved_plan(path: &Path) -> Result<Option<Plan>, Failure> {
    let bytes = read_input(path)?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let failed = |fault: String| {
        Failure::usage(
            format!(
                "`{}` is no plan that this version of stead knows: {fault}",
                path.display()
            ),
            "make it again with `stead plan --out FILE`",
        )
    };
    let document: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    match document["format"].as_str() {
        Some(FORMAT) => serde_json::from_value(document)
            .map(Some)
            .map_err(|error| failed(error.to_string())),
        Some(other) => Err(failed(format!("its format is `{other}`, not `{FORMAT}`"))),
        None => Err(failed("it has no format".to_owned())),
    }
}

fn refuse_too_costly(plan: &Plan, args: &Apply) -> Result<(), Failure> {
    if let Some(limit) = args
        .max_download
        .filter(|limit| plan.summary.download > *limit)
    {
        let message = format!(
            "the plan downloads {} bytes, more than the {limit} allowed",
            plan.summary.download
        );
        return Err(Failure::new(
            Exit::Failed,
            message,
            "nothing was done; raise `--max-download`",
        ));
    }
    if let Some(limit) = args
        .max_restarts
        .filter(|limit| plan.summary.restarts > *limit)
    {
        let message = format!(
            "the plan restarts {} services, more than the {limit} allowed",
            plan.summary.restarts
        );
        return Err(Failure::new(
            Exit::Failed,
            message,
            "nothing was done; raise `--max-restarts`",
        ));
    }
    Ok(())
}

impl<'a> Bench<'a> {
    /// Takes the lock and makes the run folder.
    pub(crate) fn set_up(session: &'a Session, as_json: bool) -> Result<Self, Failure> {
        let state = StateFolder::create(&session.state)?;
        let lock = Lock::acquire(&session.lock())?;
        let runtime = Runtime::new().map_err(|error| Failure::of(Exit::Failed, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let stop = stop.clone();
            let _inside = runtime.enter();
            let mut signals = signal(kind).map_err(|error| Failure::of(Exit::Failed, &error))?;
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    stop.store(true, Ordering::Relaxed);
                }
            });
        }
        let progress = Arc::new(Progress::new(as_json));
        Ok(Self {
            session,
            lock,
            state,
            progress,
            runtime,
            stop,
        })
    }

    /// Makes the power to change the host, which tells of downloads as events of the run.
    fn writer(&self) -> Writer {
        let progress = Arc::clone(&self.progress);
        let writer = self.session.writer();
        writer.telling(move |download| progress.show(&Event::Downloading(download)))
    }

    /// Returns the run folder.
    pub(crate) fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Puts the host back if a run was interrupted.
    pub(crate) fn recover(&self) -> Result<Option<Outcome>, Failure> {
        let outcome = self.with_apply(async |apply| recover(&apply, &self.lock).await)?;
        if let Some(outcome) = &outcome {
            self.progress.recovered(outcome);
        }
        Ok(outcome)
    }

    /// Shows a plan, asks, and carries it out.
    pub(crate) fn carry_out(&mut self, plan: &Plan, consent: &Consent) -> Result<Exit, Failure> {
        if !consent.json {
            render::data(&render::plan(&self.session.registry, plan));
        }
        if !consent.yes && !ask()? {
            render::message("Nothing was done.\n");
            return Ok(Exit::Failed);
        }
        let writer = self.writer();
        let Self {
            session,
            lock,
            state,
            progress,
            runtime,
            stop,
        } = self;
        let observer = |event: &Event| progress.show(event);
        let apply = apply::Apply {
            registry: &session.registry,
            writer: &writer,
            state,
            observer: &observer,
            stop,
        };
        let outcome = runtime.block_on(apply.run(lock, plan))?;
        progress.end(&outcome);
        Ok(exit(&outcome))
    }

    fn with_apply<T, E: Into<Failure>>(
        &self,
        work: impl AsyncFnOnce(apply::Apply<'_, Live>) -> Result<T, E>,
    ) -> Result<T, Failure> {
        let writer = self.writer();
        let observer = |event: &Event| self.progress.show(event);
        let apply = apply::Apply {
            registry: &self.session.registry,
            writer: &writer,
            state: &self.state,
            observer: &observer,
            stop: &self.stop,
        };
        self.runtime.block_on(work(apply)).map_err(Into::into)
    }
}

/// Asks whether to go on.
fn ask() -> Result<bool, Failure> {
    if !render::can_ask() {
        return Err(Failure::usage(
            "stead asks before it changes anything, and there is no terminal to ask on",
            "add `--yes` once you have read the plan",
        ));
    }
    render::message("Apply this plan? [y/N] ");
    drop(std::io::stderr().flush());
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

pub(crate) fn is_residue(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Residue { .. })
}

/// Returns the exit code of an outcome.
pub(crate) fn exit(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Done { .. } => Exit::Done,
        Outcome::Failed { .. } => Exit::Failed,
        Outcome::CheckFailed { .. } => Exit::CheckFailed,
        Outcome::Residue { .. } => Exit::Residue,
        Outcome::Stale { .. } => Exit::Stale,
    }
}
