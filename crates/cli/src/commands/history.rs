//! `stead history` and `stead show`.

use serde::Serialize;
use stead_engine::history::{
    runs::{self, Run},
    state_dir::StateDir,
};

use crate::{
    args::HistoryArgs, context::Context, error::CommandError, exit::Exit, private_file, render,
};

/// Lists the runs, oldest first.
pub(crate) fn history(context: &Context, args: &HistoryArgs) -> Result<Exit, CommandError> {
    let runs = runs::list(&StateDir::new(&context.state_dir))?;
    if let Some(path) = &args.html {
        let page = render::history_page(&context.registry, &runs);
        private_file::save(path, page.as_bytes())?;
        render::eprint_message(&format!("Wrote {}.\n", path.display()));
    } else if args.json {
        print_json(&runs.iter().map(RunDocument::new).collect::<Vec<_>>());
    } else if runs.is_empty() {
        render::eprint_message("There is no run yet.\n");
    } else {
        render::print_text(&runs.iter().map(render::run_summary).collect::<String>());
    }
    Ok(Exit::Done)
}

/// Shows what a run planned, and how it ended.
pub(crate) fn show(context: &Context, number: u64, as_json: bool) -> Result<Exit, CommandError> {
    let run: Run = runs::load(&StateDir::new(&context.state_dir), number)?;
    if as_json {
        print_json(&RunDocument::new(&run));
        return Ok(Exit::Done);
    }
    let mut text = render::run_summary(&run);
    if let Some(plan) = &run.plan {
        text.push('\n');
        text += &context.render_plan(plan);
    }
    text.push('\n');
    match &run.outcome {
        Some(outcome) => text += &render::outcome(outcome),
        None if run.retry.is_some() => {}
        None => {
            text += "It has not ended: it is running, or it was interrupted. `stead recover` rolls an interrupted run back.\n";
        }
    }
    render::print_text(&text);
    Ok(Exit::Done)
}

/// A run, and the code that the command which made it ended with, or would have if it had not been cut off.
#[derive(Serialize)]
struct RunDocument<'a> {
    #[serde(flatten)]
    run: &'a Run,
    exit: Option<u8>,
}

impl<'a> RunDocument<'a> {
    fn new(run: &'a Run) -> Self {
        let exit = render::exit_code(run);
        Self { run, exit }
    }
}

fn print_json(document: &impl Serialize) {
    let document = serde_json::to_string_pretty(document).expect("runs have string keys");
    render::print_data(&format!("{document}\n"));
}
