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
    history::{lock::Lock, state_dir::StateDir},
    plan::document::Plan,
    run::{context, event::Event},
};
use stead_resources::host::LinuxHost;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    context::Context,
    error::CommandError,
    exit::Exit,
    render::{self, Progress},
    run::prompt::is_yes,
};

/// How often it is looked whether somebody asked to stop while an answer is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// All of it but the lock: what a run that waits goes on with, while others may confirm it or roll it back.
pub(crate) struct Runner<'a> {
    pub(crate) context: &'a Context,
    pub(crate) state: StateDir,
    pub(crate) progress: Arc<Progress>,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        context: &'a Context,
        state: StateDir,
        progress: Progress,
    ) -> Result<Self, CommandError> {
        let runtime =
            Runtime::new().map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(progress);
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let (stop, progress) = (stop.clone(), progress.clone());
            let _inside = runtime.enter();
            let mut signals =
                signal(kind).map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    stop.store(true, Ordering::Relaxed);
                    progress.show_stopping();
                }
            });
        }
        Ok(Self {
            context,
            state,
            progress,
            runtime,
            stop,
        })
    }

    /// Whether somebody asked to stop.
    pub(crate) fn is_stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does something that waits, without the power to change the host.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Takes the lock if nobody has it, and does something under it.
    pub(crate) fn try_with_lock<T, E: Into<CommandError>>(
        &self,
        work: impl AsyncFnOnce(&context::RunContext<'_, LinuxHost>, &mut Lock) -> Result<T, E>,
    ) -> Result<Option<T>, CommandError> {
        match Lock::acquire(&self.context.lock_path(), &self.state).map_err(CommandError::from) {
            Err(failure) if failure.exit() == Exit::Locked => Ok(None),
            Err(failure) => Err(failure),
            Ok(mut lock) => self
                .with_context(async |apply| work(apply, &mut lock).await)
                .map(Some),
        }
    }

    /// Asks whether to carry a plan out. Ctrl-C is no.
    pub(super) fn prompt(&self, plan: &Plan) -> Result<bool, CommandError> {
        if !render::is_interactive() {
            return Err(CommandError::usage(
                "stead asks before it changes anything, and there is no terminal to ask on",
                "add `--yes` once you have read the plan",
            ));
        }
        render::eprint_message(&render::question(plan));
        let (sender, answers) = mpsc::channel();
        // A read from a terminal cannot be broken off; it ends with this process.
        thread::spawn(move || {
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            // Whoever asked may have gone.
            drop(sender.send(read.map(|_| answer)));
        });
        while !self.is_stop_requested() {
            if let Ok(answer) = answers.recv_timeout(POLL_INTERVAL) {
                let answer =
                    answer.map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
                return Ok(is_yes(&answer));
            }
        }
        render::eprint_message("\n");
        Ok(false)
    }

    pub(super) fn with_context<T, E: Into<CommandError>>(
        &self,
        work: impl AsyncFnOnce(&context::RunContext<'_, LinuxHost>) -> Result<T, E>,
    ) -> Result<T, CommandError> {
        // A provider has no observer: how far a step is comes from the Writer.
        let progress = Arc::clone(&self.progress);
        let writer = self.context.writer();
        let writer = writer.with_listener(move |news| progress.show(&news.into()));
        let observer = |event: &Event| self.progress.show(event);
        let apply = context::RunContext {
            registry: &self.context.registry,
            writer: &writer,
            state: &self.state,
            observer: &observer,
            stop: &self.stop,
        };
        self.runtime.block_on(work(&apply)).map_err(Into::into)
    }
}
