//! `stead undo`.

use stead_engine::run::{recover::Persistence, undo};

use crate::{
    args::Consent, context::Session, error::Failure, exit::Exit, render, run::executor::Bench,
};

/// Takes one run back, or says what stands in the way.
pub(crate) fn undo(session: &Session, run: u64, consent: &Consent) -> Result<Exit, Failure> {
    session.must_be_root("undo")?;
    let bench = Bench::set_up(session, consent.json)?;
    if let Some(outcome) = bench.recover(Persistence::TriesAgain)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let state = bench.state().clone();
    let plan = session
        .confined(async |registry, reader| undo::undo(registry, reader, &state, run).await)??;
    if plan.is_empty() {
        render::message(&format!(
            "Nothing to do: everything is as before run {run}.\n"
        ));
        return Ok(Exit::Done);
    }
    bench.carry_out(&plan, consent)
}
