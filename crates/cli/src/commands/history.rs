//! `stead history` and `stead show`.

use serde::Serialize;
use stead_engine::history::{
    runs::{self, Run},
    state_dir::StateFolder,
};

use crate::{args::History, context::Session, error::Failure, exit::Exit, private_file, render};

/// Lists the runs, oldest first.
pub(crate) fn history(session: &Session, args: &History) -> Result<Exit, Failure> {
    let runs = runs::list(&StateFolder::at(&session.state))?;
    if let Some(path) = &args.html {
        let page = render::history_page(&session.registry, &runs);
        private_file::save(path, page.as_bytes())?;
        render::message(&format!("Wrote {}.\n", path.display()));
    } else if args.json {
        print(&runs.iter().map(Shown::of).collect::<Vec<_>>());
    } else if runs.is_empty() {
        render::message("There is no run yet.\n");
    } else {
        render::page(&runs.iter().map(render::summary_of_run).collect::<String>());
    }
    Ok(Exit::Done)
}

/// Shows what a run planned, and how it ended.
pub(crate) fn show(session: &Session, number: u64, as_json: bool) -> Result<Exit, Failure> {
    let run: Run = runs::show(&StateFolder::at(&session.state), number)?;
    if as_json {
        print(&Shown::of(&run));
        return Ok(Exit::Done);
    }
    let mut text = render::summary_of_run(&run);
    if let Some(plan) = &run.plan {
        text.push('\n');
        text += &session.page_of(plan);
    }
    text.push('\n');
    match &run.outcome {
        Some(outcome) => text += &render::outcome(outcome),
        None if run.left.is_some() => {}
        None => {
            text += "It has not ended: it is running, or it was interrupted. `stead recover` rolls an interrupted run back.\n";
        }
    }
    render::page(&text);
    Ok(Exit::Done)
}

/// A run, and the code that the command which made it ended with, or would have if it had not been cut off.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    run: &'a Run,
    exit: Option<u8>,
}

impl<'a> Shown<'a> {
    fn of(run: &'a Run) -> Self {
        let exit = render::exit_of(run);
        Self { run, exit }
    }
}

fn print(document: &impl Serialize) {
    let document = serde_json::to_string_pretty(document).expect("runs have string keys");
    render::data(&format!("{document}\n"));
}
