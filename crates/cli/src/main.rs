//! The command `stead`: reads what was typed, calls the engine, prints what came of it. Decides nothing.

mod args;
mod commands;
mod document;
mod exit;
mod failure;
mod render;
mod session;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, exit::Exit};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // The reader of help may have gone.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let as_json = args.command.is_json();
    match commands::run(args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print(as_json);
            failure.exit().into()
        }
    }
}
