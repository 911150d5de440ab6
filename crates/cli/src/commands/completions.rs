//! `stead completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Args, exit::Exit, render};

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut text = vec![];
    clap_complete::generate(shell, &mut Args::command(), "stead", &mut text);
    render::print_data(&String::from_utf8_lossy(&text));
    Exit::Done
}
