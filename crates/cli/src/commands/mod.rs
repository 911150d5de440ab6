//! One thin file for each command.

mod apply;
mod clone;
pub(crate) mod completions;
mod confirm;
mod doctor;
mod explain;
mod facts;
mod fmt;
mod graph;
mod history;
mod import;
mod kinds;
mod lsp;
mod man;
mod plan;
mod recover;
mod rehearse;
mod revert;
mod test;
mod undo;
mod validate;
mod watch;

use crate::{
    args::{Args, Command},
    context::Session,
    error::Failure,
    exit::Exit,
};

/// Does what was typed.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let session = Session::new(&args.place, args.extent);
    match args.command {
        Command::Plan(args) => plan::plan(&session, &args),
        Command::Apply(args) => apply::apply(&session, &args),
        Command::Doctor(args) => doctor::doctor(&session, &args),
        Command::Rehearse(args) => rehearse::rehearse(&session, &args),
        Command::Clone(command) => clone::run(&session, command),
        Command::Import(args) => import::import(&session, &args),
        Command::Test(args) => test::test(&session, &args),
        Command::Validate(args) => validate::validate(&session, &args),
        Command::Facts { json } => facts::facts(&session, json),
        Command::Fmt(args) => fmt::fmt(&args),
        Command::Lsp(args) => lsp::lsp(session, &args),
        Command::Graph(args) => graph::graph(&session, &args),
        Command::Kinds(args) => Ok(kinds::kinds(&session, &args)),
        Command::Explain(args) => explain::explain(&session, &args),
        Command::History(args) => history::history(&session, &args),
        Command::Show { run, json } => history::show(&session, run, json),
        Command::Undo { run, consent } => undo::undo(&session, run, &consent),
        Command::Recover { json } => recover::recover(&session, json),
        Command::Confirm { json } => confirm::confirm(&session, json),
        Command::Revert(args) => revert::revert(&session, &args),
        Command::Watch(args) => watch::watch(&session, &args),
        Command::Completions { shell } => Ok(completions::completions(shell)),
        Command::Man { out } => man::man(out.as_deref()),
    }
}
