//! `stead rehearse`.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use stead_engine::{
    history::{stage::Stage, state_dir::StateFolder},
    run::recover::Newest,
};
use stead_resources::{
    clone::{Holder, Traces, why_no_init},
    host::Reader,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    args::Rehearse,
    context::Session,
    error::Failure,
    exit::Exit,
    spec_input::{SpecTexts, Told, spec_path},
};

/// Tries a spec on a clone of this host. A process with namespaces of its own does it; this one only waits, and cleans up.
pub(crate) fn rehearse(session: &Session, args: &Rehearse) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.as_deref())?;
    let told = Told::of(&args.spec.values)?;
    session.graph(&SpecTexts::read(&path)?, &told)?;
    session.must_be_root("rehearse")?;
    let newest = Newest::find(&StateFolder::at(&session.state))?;
    if newest.is_some_and(|newest| !matches!(newest.stage, Stage::Ended(_))) {
        return Err(Failure::new(
            Exit::Locked,
            "a run has not ended, so the state of the host is not known",
            "end it first: `stead confirm`, `stead revert` or `stead recover`",
        ));
    }
    if let Some((why, help)) = why_no_init().filter(|_| args.reboot) {
        let fact = format!("a clone of this host cannot reboot, because {why}");
        return Err(Failure::new(
            Exit::Failed,
            fact,
            format!("{help}, or omit `--reboot`"),
        ));
    }
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error);
    let words = arguments(session, args, &path)?;
    let reader = Reader::new(&session.root);
    let has_systemd = reader.has_systemd().map_err(|error| failed(&error))?;
    // Before anything is made: what asks this process to end must not end it before it has cleaned up.
    let ends = Ends::listen().map_err(|error| failed(&error))?;
    let Some(traces) = Traces::make(!has_systemd)? else {
        return Err(Failure::new(
            Exit::Locked,
            "another rehearsal is running on this host",
            "wait until it has ended",
        ));
    };
    let holder = Holder::new(has_systemd, words)?;
    let status = ends.wait(holder);
    traces.remove()?;
    let status = status?;
    match status.code() {
        Some(code) if code == i32::from(Exit::Done as u8) => Ok(Exit::Done),
        Some(code) if code == i32::from(Exit::Usage as u8) => Ok(Exit::Usage),
        Some(_) => Ok(Exit::Failed),
        None => Err(Failure::new(
            Exit::Failed,
            format!(
                "the rehearsal was terminated by signal {}",
                status.signal().unwrap_or_default()
            ),
            "the host is as before",
        )),
    }
}

/// Writes down what the holder is to do. It runs in another folder.
fn arguments(
    session: &Session,
    args: &Rehearse,
    spec: &std::path::Path,
) -> Result<Vec<std::ffi::OsString>, Failure> {
    let absolute = |path: &std::path::Path| {
        let whole = Reader::new(std::path::Path::new("/")).resolve(&std::path::absolute(path)?);
        whole.map_err(std::io::Error::other)
    };
    let failed = |error: std::io::Error| Failure::of(Exit::Usage, &error);
    let mut words: Vec<std::ffi::OsString> = vec!["clone".into(), "hold".into()];
    let spec = absolute(spec).map_err(failed)?;
    if ["/run", "/proc", "/sys", "/dev"]
        .iter()
        .any(|folder| spec.starts_with(folder))
    {
        return Err(Failure::usage(
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
    words.extend(["--state-dir".into(), session.state.clone().into()]);
    Ok(words)
}

/// What asks this process to end.
struct Ends {
    runtime: Runtime,
    signals: [Signal; 3],
}

impl Ends {
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
    fn wait(self, holder: Holder) -> Result<ExitStatus, Failure> {
        let failed = |error: std::io::Error| Failure::of(Exit::Failed, &error);
        let [mut interrupt, mut terminate, mut hangup] = self.signals;
        self.runtime.block_on(async {
            let mut child = holder.spawn().map_err(failed)?;
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
            Err(Failure::new(
                Exit::Failed,
                "interrupted by Ctrl-C or a signal",
                "the host is as before, and the clone is removed",
            ))
        })
    }
}
