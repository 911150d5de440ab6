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
    context::Context,
    error::CommandError,
    exit::Exit,
};

/// Does what was typed.
pub(crate) fn run(args: Args) -> Result<Exit, CommandError> {
    let context = Context::new(&args.paths, args.output);
    match args.command {
        Command::Plan(args) => plan::plan(&context, &args),
        Command::Apply(args) => apply::apply(&context, &args),
        Command::Doctor(args) => doctor::doctor(&context, &args),
        Command::Rehearse(args) => rehearse::rehearse(&context, &args),
        Command::Clone(command) => clone::run(&context, command),
        Command::Import(args) => import::import(&context, &args),
        Command::Test(args) => test::test(&context, &args),
        Command::Validate(args) => validate::validate(&context, &args),
        Command::Facts { json } => facts::facts(&context, json),
        Command::Fmt(args) => fmt::fmt(&args),
        Command::Lsp(args) => lsp::lsp(context, &args),
        Command::Graph(args) => graph::graph(&context, &args),
        Command::Kinds(args) => Ok(kinds::kinds(&context, &args)),
        Command::Explain(args) => explain::explain(&context, &args),
        Command::History(args) => history::history(&context, &args),
        Command::Show { run, json } => history::show(&context, run, json),
        Command::Undo { run, options } => undo::undo(&context, run, &options),
        Command::Recover { json } => recover::recover(&context, json),
        Command::Confirm { json } => confirm::confirm(&context, json),
        Command::Revert(args) => revert::revert(&context, &args),
        Command::Watch(args) => watch::watch(&context, &args),
        Command::Completions { shell } => Ok(completions::completions(shell)),
        Command::Man { out } => man::man(out.as_deref()),
    }
}
