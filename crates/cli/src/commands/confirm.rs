//! `stead confirm`.

use stead_engine::{history::stage::Stage, run::confirm};

use crate::{
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    run::executor::{LOCK_TIMEOUT, LockedRunner},
};

/// Keeps the run that waits, or says what has become of it.
pub(crate) fn confirm(context: &Context, as_json: bool) -> Result<Exit, CommandError> {
    context.require_root("confirm")?;
    let runner = LockedRunner::lock_within(context, as_json, LOCK_TIMEOUT)?;
    let ended = runner.with_lock(async |apply, lock| confirm::confirm(apply, lock).await)?;
    let Some((run, stage)) = ended else {
        render::eprint_message("Nothing to confirm: there is no run yet.\n");
        return Ok(Exit::Done);
    };
    match &stage {
        Stage::Ended(outcome) => {
            runner.show_outcome(outcome);
            Ok(match Exit::from(outcome) {
                Exit::NotConfirmed => Exit::NotConfirmed,
                _ => Exit::Done,
            })
        }
        Stage::Started => Err(CommandError::new(
            Exit::Failed,
            format!("run {run} was interrupted before it could be confirmed"),
            "`stead recover` rolls it back",
        )),
        Stage::RollingBack { .. } | Stage::Pending(_) => {
            render::eprint_message(&render::rolling_back(run, Some(&stage)));
            Ok(Exit::NotConfirmed)
        }
    }
}
