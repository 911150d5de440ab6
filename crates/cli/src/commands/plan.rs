//! `stead plan`.

use std::{
    env::current_dir,
    path::Path,
    time::{Duration, Instant},
};

use stead_engine::{
    history::{stage::Stage, state_dir::StateFolder},
    plan::document,
    run::recover::Newest,
};

use crate::{
    args::{Layout, Plan, scope},
    context::Session,
    error::Failure,
    exit::Exit,
    private_file, render,
    spec_input::{SpecTexts, Told, spec_path},
};

/// Shows what would change; writes nothing but the file that was asked for.
pub(crate) fn plan(session: &Session, args: &Plan) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.as_deref())?;
    let told = Told::of(&args.spec.values)?;
    let wish = session.wish(SpecTexts::read(&path)?, told, &args.only.only)?;
    let begin = Instant::now();
    let (plan, _) = session.plan_wish(wish)?;
    let plan = plan.scoped(scope(&args.only.only));
    let time = begin.elapsed();
    if let Some(out) = &args.out {
        let document = serde_json::to_vec_pretty(&plan).expect("a plan has string keys");
        private_file::save(out, &document)?;
    }
    let text = document(session, args, &plan, &path, time)?;
    if args.json || args.format != Layout::Text {
        render::data(&text);
    } else {
        render::page(&text);
    }
    if !args.json && args.format == Layout::Text && !plan.is_empty() {
        let (saved, file) = match &args.out {
            Some(out) => (format!("Saved to {}. ", out.display()), out),
            None => (String::new(), &path),
        };
        let file = file.display();
        render::message(&format!("{saved}Run `stead apply {file}` to apply it.\n"));
    }
    // Without root the runs cannot be read, and then there is nothing to say about them.
    if let Ok(Some(Newest { run, stage, .. })) = Newest::find_open(&StateFolder::at(&session.state))
    {
        let what = match stage {
            Stage::Ended(_) => None,
            Stage::Pending(_) => {
                Some("waits for `stead confirm`; `stead revert` rolls it back now")
            }
            Stage::Begun | Stage::GoingBack { .. } => Some(
                "has not ended; if it is not running, it was interrupted: `stead recover` rolls it back",
            ),
        };
        if let Some(what) = what {
            let note = render::paint::warning("note:");
            render::message(&format!("{note} run {run} {what}.\n"));
        }
    }
    Ok(if plan.is_empty() {
        Exit::Done
    } else {
        Exit::Pending
    })
}

fn document(
    session: &Session,
    args: &Plan,
    plan: &document::Plan,
    spec: &Path,
    time: Duration,
) -> Result<String, Failure> {
    let registry = &session.registry;
    if args.json {
        let document = serde_json::to_string_pretty(plan).expect("a plan has string keys");
        return Ok(format!("{document}\n"));
    }
    Ok(match args.format {
        Layout::Text if plan.is_empty() => render::no_changes(plan, spec, time),
        Layout::Text => session.page_of(plan),
        Layout::Markdown => render::markdown(registry, plan, spec),
        Layout::Gitlab => {
            let folder = current_dir().map_err(|error| Failure::of(Exit::Failed, &error))?;
            render::gitlab(registry, plan, spec, &folder)
        }
        Layout::Junit => render::junit(registry, plan),
    })
}
