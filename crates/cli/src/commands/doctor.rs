//! `stead doctor`.

use std::sync::Arc;

use stead_engine::{
    history::{runs::committed, state_dir::StateDir},
    language::{resolve::decode, source::Source},
    model::state::Desired,
    plan::{
        document::{DesiredResource, Plan},
        graph::Graph,
        planner,
    },
};
use stead_resources::doctor::{finding::DoctorReport, run_checks};

use crate::{
    args::DoctorArgs, context::Context, error::CommandError, exit::Exit, json::DoctorDocument,
    render,
};

/// Looks for what is known to go wrong; writes nothing.
pub(crate) fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, CommandError> {
    let hooks = applied_hooks(context);
    let found =
        context.run_read_only(async |_, reader| run_checks(reader, hooks.as_deref()).await)?;
    let report = found.map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    let exit = if report.findings.is_empty() {
        Exit::Done
    } else {
        Exit::Pending
    };
    if args.json {
        render::print_data(&DoctorDocument::text(report));
    } else if args.show_fix {
        show_fix(context, &report)?;
    } else {
        render::print_text(&render::doctor_report(&report));
    }
    Ok(exit)
}

/// Names the hooks that were applied; `None` if this user may not know.
fn applied_hooks(context: &Context) -> Option<Vec<String>> {
    let committed = committed(&StateDir::new(&context.state_dir)).ok()?;
    let wanted = committed.into_iter().flat_map(|(_, wanted)| wanted);
    let is_hook = |wanted: &DesiredResource| {
        wanted.address.kind == "hook" && matches!(wanted.desired, Desired::Present(_))
    };
    Some(
        wanted
            .filter(is_hook)
            .map(|wanted| wanted.address.name.into())
            .collect(),
    )
}

/// Shows the spec that mends what was found, and what it would change.
fn show_fix(context: &Context, report: &DoctorReport) -> Result<(), CommandError> {
    let Some(text) = report.spec() else {
        render::print_text("A spec can fix none of the findings.\n");
        return Ok(());
    };
    render::print_data(&text);
    let plan = plan_text(context, text)?;
    render::print_data("\n");
    render::print_text(&context.render_plan(&plan));
    render::eprint_message("Add these lines to your spec, then run `stead apply`.\n");
    Ok(())
}

fn plan_text(context: &Context, text: String) -> Result<Plan, CommandError> {
    let source = Arc::new(Source::new("doctor.kdl", text));
    let spec = decode(&source, &context.registry)?;
    let graph = Graph::build(spec, &context.registry)?;
    context
        .try_run_read_only(async |registry, reader| planner::plan(registry, reader, &graph).await)
}
