//! The command `stead`: parses arguments, calls the engine, prints the result. Decides nothing.

mod args;
mod exit;
mod json;
mod render;

mod error;

mod context;
mod private_file;
mod timings;

mod run;
mod spec_input;

mod commands;
mod lsp;
#[cfg(test)]
mod reference;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, exit::Exit, timings::Timings};

/// That of musl has one lock for all threads and asks the kernel for nearly every block: a plan of many files then takes half as
/// long again.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    render::respect_dumb_terminals();
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
    let timings = args.output.timings.then(Timings::start);
    let exit = commands::run(args).unwrap_or_else(|failure| {
        failure.print(as_json);
        failure.exit()
    });
    if let Some(timings) = timings {
        timings.print();
    }
    exit.into()
}
