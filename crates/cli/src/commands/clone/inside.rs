//! Commands that run in the clone. They read and print JSON, for the process that holds the clone.

use std::io::BufRead;

use serde::{Serialize, de::DeserializeOwned};
use stead_engine::{
    plan::document::{DesiredResource, Plan},
    rehearsal::{
        difference::Snapshot,
        planning::{RehearsalPlan, plan_rehearsal},
        report::Skipped,
    },
    run::confirm::Confirm,
};
use stead_resources::{
    clone::{self, KernelSettings},
    host::Reader,
};

use crate::{
    args::RunOptions, context::Context, error::CommandError, exit::Exit, render,
    run::executor::LockedRunner,
};

/// Plans what can be tried here, without what is left out already.
pub(super) fn plan_possible(
    context: &Context,
    host: &str,
    wanted: Vec<DesiredResource>,
    left_out: &[Skipped],
    has_init: bool,
) -> Result<RehearsalPlan, CommandError> {
    context.try_run_read_only(async |registry, reader| {
        plan_rehearsal(registry, reader, (host, wanted), left_out, has_init).await
    })
}

/// Prints what the clone looks like.
pub(super) fn snapshot(context: &Context) -> Result<Exit, CommandError> {
    let features = context.run_read_only(async |_, reader| clone::take_snapshot(reader).await)?;
    let features: Snapshot =
        features.map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    print_json(&features);
    Ok(Exit::Done)
}

/// Makes the settings of the host hold here.
pub(super) fn configure(context: &Context) -> Result<Exit, CommandError> {
    let settings: KernelSettings = read_json_line()?;
    let (writer, reader) = (context.writer(), Reader::new(&context.root));
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    runtime
        .block_on(clone::apply_settings(&writer, &reader, &settings))
        .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    Ok(Exit::Done)
}

/// Prints a plan of what can be tried.
pub(super) fn plan(context: &Context) -> Result<Exit, CommandError> {
    let (host, wanted, left_out): (String, Vec<DesiredResource>, Vec<Skipped>) = read_json_line()?;
    let has_init = Reader::new(&context.root)
        .has_systemd()
        .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    print_json(&plan_possible(context, &host, wanted, &left_out, has_init)?);
    Ok(Exit::Done)
}

/// Carries a plan out, and waits for a line after each event.
pub(super) fn apply(context: &Context) -> Result<Exit, CommandError> {
    let plan: Plan = read_json_line()?;
    let options = RunOptions {
        yes: true,
        json: true,
        confirm: Some(Confirm::Off),
        allow_irreversible: true,
    };
    LockedRunner::lock(context, true)?
        .step_by_step()
        .execute(&plan, &options)
}

/// Reads one line of JSON.
fn read_json_line<T: DeserializeOwned>() -> Result<T, CommandError> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| CommandError::from_error(Exit::Usage, error);
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| failed(&error))?;
    serde_json::from_str(&line).map_err(|error| failed(&error))
}

fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("it has string keys");
    render::print_data(&format!("{text}\n"));
}
