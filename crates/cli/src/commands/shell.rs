//! `stead completions` and `stead man`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Args, exit::Exit, failure::Failure, render};

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut text = vec![];
    clap_complete::generate(shell, &mut Args::command(), "stead", &mut text);
    render::data(&String::from_utf8_lossy(&text));
    Exit::Done
}

/// Prints the manual page.
pub(crate) fn man() -> Result<Exit, Failure> {
    let mut text = vec![];
    clap_mangen::Man::new(Args::command())
        .render(&mut text)
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    render::data(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}
