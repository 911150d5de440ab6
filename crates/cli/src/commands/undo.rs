//! `stead undo`.

use stead_engine::run::{recover::OnResidue, undo};

use crate::{
    args::RunOptions, context::Context, error::CommandError, exit::Exit, render,
    run::executor::LockedRunner,
};

/// Takes one run back, or says what stands in the way.
pub(crate) fn undo(
    context: &Context,
    run: u64,
    options: &RunOptions,
) -> Result<Exit, CommandError> {
    context.require_root("undo")?;
    let runner = LockedRunner::lock(context, options.json)?;
    if let Some(outcome) = runner.recover(OnResidue::Retry)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let state = runner.state().clone();
    let plan = context.try_run_read_only(async |registry, reader| {
        undo::undo(registry, reader, &state, run).await
    })?;
    if plan.is_empty() {
        render::eprint_message(&format!(
            "Nothing to do: everything is as before run {run}.\n"
        ));
        return Ok(Exit::Done);
    }
    runner.execute(&plan, options)
}
