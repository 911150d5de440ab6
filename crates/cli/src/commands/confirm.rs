//! `stead confirm`.

use stead_engine::{history::stage::Stage, run::confirm};

use crate::{
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    run::executor::{Bench, PATIENCE},
};

/// Keeps the run that waits, or says what has become of it.
pub(crate) fn confirm(session: &Session, as_json: bool) -> Result<Exit, Failure> {
    session.must_be_root("confirm")?;
    let bench = Bench::set_up_within(session, as_json, PATIENCE)?;
    let ended = bench.work(async |apply, lock| confirm::confirm(apply, lock).await)?;
    let Some((run, stage)) = ended else {
        render::message("Nothing to confirm: there is no run yet.\n");
        return Ok(Exit::Done);
    };
    match &stage {
        Stage::Ended(outcome) => {
            bench.say_ended(outcome);
            Ok(match Exit::from(outcome) {
                Exit::NotConfirmed => Exit::NotConfirmed,
                _ => Exit::Done,
            })
        }
        Stage::Begun => Err(Failure::new(
            Exit::Failed,
            format!("run {run} was interrupted before it could be confirmed"),
            "`stead recover` rolls it back",
        )),
        Stage::GoingBack { .. } | Stage::Pending(_) => {
            render::message(&render::going_back(run, Some(&stage)));
            Ok(Exit::NotConfirmed)
        }
    }
}
