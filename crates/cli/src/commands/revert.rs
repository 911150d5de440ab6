//! `stead revert`: for users, and for the watchdog of a run that waits to be confirmed.

use stead_engine::{
    history::{journal::Outcome, stage::Stage, state_dir::StateFolder},
    provider::host::Host,
    run::{confirm::revert as take_back, recover::Newest},
};
use stead_resources::host::{Live, Reader};

use crate::{
    args::Revert,
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    run::executor::{Bench, PATIENCE},
};

/// Takes back the run that waits.
pub(crate) fn revert(session: &Session, args: &Revert) -> Result<Exit, Failure> {
    session.must_be_root("revert")?;
    if let Some(run) = args.unless_confirmed {
        return look_after(session, run, args.json);
    }
    let bench = Bench::set_up_within(session, args.json, PATIENCE)?;
    let because = Some("rolled back by `stead revert`");
    let ended = bench.work(async |apply, lock| take_back(apply, lock, because).await)?;
    let Some((run, stage)) = ended else {
        render::message("Nothing to roll back: there is no run yet.\n");
        return Ok(Exit::Done);
    };
    match &stage {
        Stage::Ended(Outcome::Done { .. }) => Err(Failure::usage(
            format!("run {run} does not wait to be confirmed: it is finished"),
            format!("`stead undo {run}` undoes it"),
        )),
        Stage::Ended(outcome) => {
            bench.say_ended(outcome);
            Ok(match Exit::from(outcome) {
                Exit::Residue => Exit::Residue,
                _ => Exit::Done,
            })
        }
        _ => {
            render::message(&render::going_back(run, Some(&stage)));
            Ok(Exit::Residue)
        }
    }
}

/// Does what is due for a run, if anything is. It looks before it takes the lock, so that it stands in nobody's way.
fn look_after(session: &Session, run: u64, as_json: bool) -> Result<Exit, Failure> {
    let runs = StateFolder::at(&session.state);
    let newest = Newest::find(&runs)?.filter(|newest| newest.run == run);
    let stage = newest.map(|newest| newest.stage);
    let has_ended = stage
        .as_ref()
        .is_none_or(|stage| matches!(stage, Stage::Ended(_)));
    if has_ended {
        let bench = Bench::set_up(session, as_json)?;
        bench.work(async |apply, _| Live::disarm(apply.writer, run).await)?;
        return Ok(Exit::Done);
    }
    if stage.is_some_and(|stage| !stage.is_due(&Reader::new(&session.root).now())) {
        return Ok(Exit::Locked);
    }
    let bench = match Bench::set_up(session, as_json) {
        Err(failure) if failure.exit() == Exit::Locked => return Ok(Exit::Locked),
        bench => bench?,
    };
    let ended = bench.work(async |apply, lock| take_back(apply, lock, None).await)?;
    let stage = ended.map(|(_, stage)| stage);
    match &stage {
        Some(Stage::Ended(outcome)) => {
            bench.say_ended(outcome);
            Ok(Exit::Done)
        }
        Some(Stage::GoingBack { .. }) => {
            render::message(&render::going_back(run, stage.as_ref()));
            Ok(Exit::Residue)
        }
        _ => Ok(Exit::Locked),
    }
}
