//! `stead recover`.

use stead_engine::run::recover::Persistence;

use crate::{context::Session, error::Failure, exit::Exit, render, run::executor::Bench};

/// Puts the host back if a run was interrupted.
pub(crate) fn recover(session: &Session, as_json: bool) -> Result<Exit, Failure> {
    session.must_be_root("recover")?;
    let bench = Bench::set_up(session, as_json)?;
    let Some(outcome) = bench.recover(Persistence::Ends)? else {
        render::message("Nothing to recover: all runs have ended.\n");
        return Ok(Exit::Done);
    };
    // The interrupted run failed; putting the host back did not.
    Ok(if Exit::from(&outcome) == Exit::Residue {
        Exit::Residue
    } else {
        Exit::Done
    })
}
