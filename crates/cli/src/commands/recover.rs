//! `stead recover`.

use stead_engine::run::recover::OnResidue;

use crate::{
    context::Context, error::CommandError, exit::Exit, render, run::executor::LockedRunner,
};

/// Puts the host back if a run was interrupted.
pub(crate) fn recover(context: &Context, as_json: bool) -> Result<Exit, CommandError> {
    context.require_root("recover")?;
    let runner = LockedRunner::lock(context, as_json)?;
    let Some(outcome) = runner.recover(OnResidue::Stop)? else {
        render::eprint_message("Nothing to recover: all runs have ended.\n");
        return Ok(Exit::Done);
    };
    // The interrupted run failed; putting the host back did not.
    Ok(if Exit::from(&outcome) == Exit::Residue {
        Exit::Residue
    } else {
        Exit::Done
    })
}
