//! `stead plan`.

use std::{
    env::current_dir,
    path::Path,
    time::{Duration, Instant},
};

use stead_engine::{
    history::{stage::Stage, state_dir::StateDir},
    plan::document,
    run::recover::LatestRun,
};

use crate::{
    args::{PlanArgs, PlanFormat, scope},
    context::Context,
    error::CommandError,
    exit::Exit,
    private_file, render,
    spec_input::{SpecOverrides, SpecTexts, find_spec},
};

/// Shows what would change; writes nothing but the file that was asked for.
pub(crate) fn plan(context: &Context, args: &PlanArgs) -> Result<Exit, CommandError> {
    let path = find_spec(args.spec.spec.as_deref())?;
    let overrides = SpecOverrides::of(&args.spec.values)?;
    let request = context.load_spec(SpecTexts::read(&path)?, overrides, &args.selection.only)?;
    let begin = Instant::now();
    let (plan, _) = context.plan_request(request)?;
    let plan = plan.with_scope(scope(&args.selection.only));
    let time = begin.elapsed();
    if let Some(out) = &args.out {
        let document = serde_json::to_vec_pretty(&plan).expect("a plan has string keys");
        private_file::save(out, &document)?;
    }
    let text = render_document(context, args, &plan, &path, time)?;
    if args.json || args.format != PlanFormat::Text {
        render::print_data(&text);
    } else {
        render::print_text(&text);
    }
    if !args.json && args.format == PlanFormat::Text && !plan.is_empty() {
        let (saved, file) = match &args.out {
            Some(out) => (format!("Saved to {}. ", out.display()), out),
            None => (String::new(), &path),
        };
        let file = file.display();
        render::eprint_message(&format!("{saved}Run `stead apply {file}` to apply it.\n"));
    }
    // Without root the runs cannot be read, and then there is nothing to say about them.
    if let Ok(Some(LatestRun { run, stage, .. })) =
        LatestRun::load_unfinished(&StateDir::new(&context.state_dir))
    {
        let what = match stage {
            Stage::Ended(_) => None,
            Stage::Pending(_) => {
                Some("waits for `stead confirm`; `stead revert` rolls it back now")
            }
            Stage::Started | Stage::RollingBack { .. } => Some(
                "has not ended; if it is not running, it was interrupted: `stead recover` rolls it back",
            ),
        };
        if let Some(what) = what {
            let note = render::style::warning("note:");
            render::eprint_message(&format!("{note} run {run} {what}.\n"));
        }
    }
    Ok(if plan.is_empty() {
        Exit::Done
    } else {
        Exit::Pending
    })
}

fn render_document(
    context: &Context,
    args: &PlanArgs,
    plan: &document::Plan,
    spec: &Path,
    time: Duration,
) -> Result<String, CommandError> {
    let registry = &context.registry;
    if args.json {
        let document = serde_json::to_string_pretty(plan).expect("a plan has string keys");
        return Ok(format!("{document}\n"));
    }
    Ok(match args.format {
        PlanFormat::Text if plan.is_empty() => render::no_changes(plan, spec, time),
        PlanFormat::Text => context.render_plan(plan),
        PlanFormat::Markdown => render::markdown(registry, plan, spec),
        PlanFormat::Gitlab => {
            let dir =
                current_dir().map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
            render::gitlab(registry, plan, spec, &dir)
        }
        PlanFormat::Junit => render::junit(registry, plan),
    })
}
