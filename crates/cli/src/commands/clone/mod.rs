//! `stead clone`: internal commands that a rehearsal runs in its clone and around it.

mod inside;
pub(crate) mod step_by_step;
pub(crate) mod supervise;
mod trial;

use stead_resources::clone::{CloneEntry, enter, idle_init};

use crate::{args::CloneCommand, context::Context, error::CommandError, exit::Exit};

/// Does one part of a rehearsal.
pub(crate) fn run(context: &Context, command: CloneCommand) -> Result<Exit, CommandError> {
    match command {
        CloneCommand::Supervise(args) => supervise::supervise(context, &args),
        CloneCommand::Enter { cgroup, init, argv } => {
            let error = enter(&CloneEntry { cgroup, init }, &argv);
            Err(CommandError::from_error(Exit::Failed, &error))
        }
        CloneCommand::Init { root, shown } => {
            idle_init(&root, &shown)?;
            Ok(Exit::Done)
        }
        CloneCommand::Snapshot => inside::snapshot(context),
        CloneCommand::Configure => inside::configure(context),
        CloneCommand::Plan => inside::plan(context),
        CloneCommand::Apply => inside::apply(context),
    }
}
