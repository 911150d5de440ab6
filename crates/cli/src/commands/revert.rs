//! `stead revert`: for users, and for the watchdog of a run that waits to be confirmed.

use stead_engine::{
    history::{journal::Outcome, stage::Stage, state_dir::StateDir},
    provider::host::Host,
    run::{confirm::revert as roll_back, recover::LatestRun},
};
use stead_resources::host::{LinuxHost, Reader};

use crate::{
    args::RevertArgs,
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    run::executor::{LOCK_TIMEOUT, LockedRunner},
};

/// Takes back the run that waits.
pub(crate) fn revert(context: &Context, args: &RevertArgs) -> Result<Exit, CommandError> {
    context.require_root("revert")?;
    if let Some(run) = args.unless_confirmed {
        return revert_if_due(context, run, args.json);
    }
    let runner = LockedRunner::lock_within(context, args.json, LOCK_TIMEOUT)?;
    let because = Some("rolled back by `stead revert`");
    let ended = runner.with_lock(async |apply, lock| roll_back(apply, lock, because).await)?;
    let Some((run, stage)) = ended else {
        render::eprint_message("Nothing to roll back: there is no run yet.\n");
        return Ok(Exit::Done);
    };
    match &stage {
        Stage::Ended(Outcome::Done { .. }) => Err(CommandError::usage(
            format!("run {run} does not wait to be confirmed: it is finished"),
            format!("`stead undo {run}` undoes it"),
        )),
        Stage::Ended(outcome) => {
            runner.show_outcome(outcome);
            Ok(match Exit::from(outcome) {
                Exit::Residue => Exit::Residue,
                _ => Exit::Done,
            })
        }
        _ => {
            render::eprint_message(&render::rolling_back(run, Some(&stage)));
            Ok(Exit::Residue)
        }
    }
}

/// Does what is due for a run, if anything is. It looks before it takes the lock, so that it stands in nobody's way.
fn revert_if_due(context: &Context, run: u64, as_json: bool) -> Result<Exit, CommandError> {
    let runs = StateDir::new(&context.state_dir);
    let newest = LatestRun::load(&runs)?.filter(|newest| newest.run == run);
    let stage = newest.map(|newest| newest.stage);
    let has_ended = stage
        .as_ref()
        .is_none_or(|stage| matches!(stage, Stage::Ended(_)));
    if has_ended {
        let runner = LockedRunner::lock(context, as_json)?;
        runner.with_lock(async |apply, _| LinuxHost::disarm(apply.writer, run).await)?;
        return Ok(Exit::Done);
    }
    if stage.is_some_and(|stage| !stage.is_rollback_due(&Reader::new(&context.root).now())) {
        return Ok(Exit::Locked);
    }
    let runner = match LockedRunner::lock(context, as_json) {
        Err(failure) if failure.exit() == Exit::Locked => return Ok(Exit::Locked),
        runner => runner?,
    };
    let ended = runner.with_lock(async |apply, lock| roll_back(apply, lock, None).await)?;
    let stage = ended.map(|(_, stage)| stage);
    match &stage {
        Some(Stage::Ended(outcome)) => {
            runner.show_outcome(outcome);
            Ok(Exit::Done)
        }
        Some(Stage::RollingBack { .. }) => {
            render::eprint_message(&render::rolling_back(run, stage.as_ref()));
            Ok(Exit::Residue)
        }
        _ => Ok(Exit::Locked),
    }
}
