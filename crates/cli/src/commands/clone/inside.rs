//! Commands that run in the clone. They read and print JSON, for the process that holds the clone.

use std::io::BufRead;

use serde::{Serialize, de::DeserializeOwned};
use stead_engine::{
    plan::document::{Plan, Wanted},
    rehearsal::{
        difference::Features,
        planning::{Possible, plan_rehearsal},
        report::LeftOut,
    },
    run::confirm::Confirm,
};
use stead_resources::{
    clone::{self, Settings},
    host::Reader,
};

use crate::{
    args::Consent, context::Session, error::Failure, exit::Exit, render, run::executor::Bench,
};

/// Plans what can be tried here, without what is left out already.
pub(super) fn possible(
    session: &Session,
    host: &str,
    wanted: Vec<Wanted>,
    left_out: &[LeftOut],
    has_init: bool,
) -> Result<Possible, Failure> {
    Ok(session.confined(async |registry, reader| {
        plan_rehearsal(registry, reader, (host, wanted), left_out, has_init).await
    })??)
}

/// Prints what the clone looks like.
pub(super) fn look(session: &Session) -> Result<Exit, Failure> {
    let features = session.confined(async |_, reader| clone::look(reader).await)?;
    let features: Features = features.map_err(|error| Failure::of(Exit::Failed, &error))?;
    print(&features);
    Ok(Exit::Done)
}

/// Makes the settings of the host hold here.
pub(super) fn set(session: &Session) -> Result<Exit, Failure> {
    let settings: Settings = next()?;
    let (writer, reader) = (session.writer(), Reader::new(&session.root));
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Failure::of(Exit::Failed, &error))?;
    runtime
        .block_on(clone::set(&writer, &reader, &settings))
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    Ok(Exit::Done)
}

/// Prints a plan of what can be tried.
pub(super) fn plan(session: &Session) -> Result<Exit, Failure> {
    let (host, wanted, left_out): (String, Vec<Wanted>, Vec<LeftOut>) = next()?;
    let has_init = Reader::new(&session.root)
        .has_systemd()
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    print(&possible(session, &host, wanted, &left_out, has_init)?);
    Ok(Exit::Done)
}

/// Carries a plan out, and waits for a line after each event.
pub(super) fn apply(session: &Session) -> Result<Exit, Failure> {
    let plan: Plan = next()?;
    let consent = Consent {
        yes: true,
        json: true,
        confirm: Some(Confirm::Off),
        allow_irreversible: true,
    };
    Bench::set_up(session, true)?
        .paced()
        .carry_out(&plan, &consent)
}

/// Reads one line of JSON.
fn next<T: DeserializeOwned>() -> Result<T, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Usage, error);
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| failed(&error))?;
    serde_json::from_str(&line).map_err(|error| failed(&error))
}

fn print(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("it has string keys");
    render::data(&format!("{text}\n"));
}
