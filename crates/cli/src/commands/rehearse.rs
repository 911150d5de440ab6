//! `stead rehearse`.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use stead_engine::{
    history::{stage::Stage, state_dir::StateDir},
    run::recover::LatestRun,
};
use stead_resources::{
    clone::{HostState, Supervisor, boot_blocker},
    host::Reader,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    args::RehearseArgs,
    context::Context,
    error::CommandError,
    exit::Exit,
    spec_input::{SpecOverrides, SpecTexts, find_spec},
};

/// Tries a spec on a clone of this host. A process with namespaces of its own does it; this one only waits, and cleans up.
pub(crate) fn rehearse(context: &Context, args: &RehearseArgs) -> Result<Exit, CommandError> {
    let path = find_spec(args.spec.spec.as_deref())?;
    let overrides = SpecOverrides::of(&args.spec.values)?;
    context.graph(&SpecTexts::read(&path)?, &overrides)?;
    context.require_root("rehearse")?;
    let newest = LatestRun::load(&StateDir::new(&context.state_dir))?;
    if newest.is_some_and(|newest| !matches!(newest.stage, Stage::Ended(_))) {
        return Err(CommandError::new(
            Exit::Locked,
            "a run has not ended, so the state of the host is not known",
            "end it first: `stead confirm`, `stead revert` or `stead recover`",
        ));
    }
    if let Some((why, help)) = boot_blocker().filter(|_| args.reboot) {
        let fact = format!("a clone of this host cannot reboot, because {why}");
        return Err(CommandError::new(
            Exit::Failed,
            fact,
            format!("{help}, or omit `--reboot`"),
        ));
    }
    let failed =
        |error: &(dyn std::error::Error + 'static)| CommandError::from_error(Exit::Failed, error);
    let words = supervisor_args(context, args, &path)?;
    let reader = Reader::new(&context.root);
    let has_systemd = reader.has_systemd().map_err(|error| failed(&error))?;
    // Before anything is made: what asks this process to end must not end it before it has cleaned up.
    let signals = TerminationSignals::listen().map_err(|error| failed(&error))?;
    let Some(traces) = HostState::create(!has_systemd)? else {
        return Err(CommandError::new(
            Exit::Locked,
            "another rehearsal is running on this host",
            "wait until it has ended",
        ));
    };
    let supervisor = Supervisor::new(has_systemd, words)?;
    let status = signals.wait(supervisor);
    traces.remove()?;
    let status = status?;
    match status.code() {
        Some(code) if code == i32::from(Exit::Done as u8) => Ok(Exit::Done),
        Some(code) if code == i32::from(Exit::Usage as u8) => Ok(Exit::Usage),
        Some(_) => Ok(Exit::Failed),
        None => Err(CommandError::new(
            Exit::Failed,
            format!(
                "the rehearsal was terminated by signal {}",
                status.signal().unwrap_or_default()
            ),
            "the host is as before",
        )),
    }
}

/// Writes down what the holder is to do. It runs in another directory.
fn supervisor_args(
    context: &Context,
    args: &RehearseArgs,
    spec: &std::path::Path,
) -> Result<Vec<std::ffi::OsString>, CommandError> {
    let absolute = |path: &std::path::Path| {
        let whole = Reader::new(std::path::Path::new("/")).resolve(&std::path::absolute(path)?);
        whole.map_err(std::io::Error::other)
    };
    let failed = |error: std::io::Error| CommandError::from_error(Exit::Usage, &error);
    let mut words: Vec<std::ffi::OsString> = vec!["clone".into(), "hold".into()];
    let spec = absolute(spec).map_err(failed)?;
    if ["/run", "/proc", "/sys", "/dev"]
        .iter()
        .any(|dir| spec.starts_with(dir))
    {
        return Err(CommandError::usage(
            format!("the clone cannot see `{}`", spec.display()),
            "move the spec to another directory, such as /etc/stead",
        ));
    }
    words.push(spec.into());
    words.extend(args.reboot.then(|| "--reboot".into()));
    words.extend(args.json.then(|| "--json".into()));
    for text in &args.spec.values.var {
        words.extend(["--var".into(), text.into()]);
    }
    for path in &args.spec.values.vars {
        words.extend(["--vars".into(), absolute(path).map_err(failed)?.into()]);
    }
    if let Some(step) = &args.kill_at {
        words.extend(["--kill-at".into(), step.into()]);
    }
    if let Some(layers) = &args.overlay_dir {
        words.extend([
            "--overlay-dir".into(),
            absolute(layers).map_err(failed)?.into(),
        ]);
    }
    words.extend(["--state-dir".into(), context.state_dir.clone().into()]);
    Ok(words)
}

/// What asks this process to end.
struct TerminationSignals {
    runtime: Runtime,
    signals: [Signal; 3],
}

impl TerminationSignals {
    fn listen() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        let inside = runtime.enter();
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        drop(inside);
        Ok(Self { runtime, signals })
    }

    /// Waits for the holder. A signal ends it: it goes when its standard input does.
    fn wait(self, supervisor: Supervisor) -> Result<ExitStatus, CommandError> {
        let failed = |error: std::io::Error| CommandError::from_error(Exit::Failed, &error);
        let [mut interrupt, mut terminate, mut hangup] = self.signals;
        self.runtime.block_on(async {
            let mut child = supervisor.spawn().map_err(failed)?;
            let mut input = child.stdin.take();
            let waited = tokio::select! {
                status = child.wait() => Some(status),
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
                _ = hangup.recv() => None,
            };
            if let Some(status) = waited {
                return status.map_err(failed);
            }
            drop(input.take());
            child.wait().await.map_err(failed)?;
            Err(CommandError::new(
                Exit::Failed,
                "interrupted by Ctrl-C or a signal",
                "the host is as before, and the clone is removed",
            ))
        })
    }
}
