//! What a run needs beside the lock: the state directory, the progress, the runtime and the request to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use stead_engine::{
    history::{lock::Lock, state_dir::StateFolder},
    plan::document::Plan,
    run::{context, event::Event},
};
use stead_resources::host::Live;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    context::Session,
    error::Failure,
    exit::Exit,
    render::{self, Progress},
    run::prompt::is_yes,
};

/// How often it is looked whether somebody asked to stop while an answer is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// All of it but the lock: what a run that waits goes on with, while others may confirm it or take it back.
pub(crate) struct Desk<'a> {
    pub(crate) session: &'a Session,
    pub(crate) state: StateFolder,
    pub(crate) progress: Arc<Progress>,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        session: &'a Session,
        state: StateFolder,
        progress: Progress,
    ) -> Result<Self, Failure> {
        let runtime = Runtime::new().map_err(|error| Failure::of(Exit::Failed, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(progress);
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let (stop, progress) = (stop.clone(), progress.clone());
            let _inside = runtime.enter();
            let mut signals = signal(kind).map_err(|error| Failure::of(Exit::Failed, &error))?;
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    stop.store(true, Ordering::Relaxed);
                    progress.stopping();
                }
            });
        }
        Ok(Self {
            session,
            state,
            progress,
            runtime,
            stop,
        })
    }

    /// Whether somebody asked to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does something that waits, without the power to change the host.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Takes the lock if nobody has it, and does something under it.
    pub(crate) fn work_if_free<T, E: Into<Failure>>(
        &self,
        work: impl AsyncFnOnce(&context::Apply<'_, Live>, &mut Lock) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        match Lock::acquire(&self.session.lock(), &self.state).map_err(Failure::from) {
            Err(failure) if failure.exit() == Exit::Locked => Ok(None),
            Err(failure) => Err(failure),
            Ok(mut lock) => self
                .with_apply(async |apply| work(apply, &mut lock).await)
                .map(Some),
        }
    }

    /// Asks whether to carry a plan out. Ctrl-C is no.
    pub(super) fn ask(&self, plan: &Plan) -> Result<bool, Failure> {
        if !render::can_ask() {
            return Err(Failure::usage(
                "stead asks before it changes anything, and there is no terminal to ask on",
                "add `--yes` once you have read the plan",
            ));
        }
        render::message(&render::question(plan));
        let (sender, answers) = mpsc::channel();
        // A read from a terminal cannot be broken off; it ends with this process.
        thread::spawn(move || {
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            // Whoever asked may have gone.
            drop(sender.send(read.map(|_| answer)));
        });
        while !self.is_stopped() {
            if let Ok(answer) = answers.recv_timeout(PAUSE) {
                let answer = answer.map_err(|error| Failure::of(Exit::Failed, &error))?;
                return Ok(is_yes(&answer));
            }
        }
        render::message("\n");
        Ok(false)
    }

    pub(super) fn with_apply<T, E: Into<Failure>>(
        &self,
        work: impl AsyncFnOnce(&context::Apply<'_, Live>) -> Result<T, E>,
    ) -> Result<T, Failure> {
        // A provider has no observer: how far a step is comes from the Writer.
        let progress = Arc::clone(&self.progress);
        let writer = self.session.writer();
        let writer = writer.telling(move |news| progress.show(&news.into()));
        let observer = |event: &Event| self.progress.show(event);
        let apply = context::Apply {
            registry: &self.session.registry,
            writer: &writer,
            state: &self.state,
            observer: &observer,
            stop: &self.stop,
        };
        self.runtime.block_on(work(&apply)).map_err(Into::into)
    }
}
