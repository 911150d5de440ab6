//! `stead doctor`.

use std::sync::Arc;

use stead_engine::{
    history::{runs::committed, state_dir::StateFolder},
    language::{resolve::decode, source::Source},
    model::state::Desired,
    plan::{
        document::{Plan, Wanted},
        graph::Graph,
        planner,
    },
};
use stead_resources::doctor::{examine, finding::Examination};

use crate::{
    args::Doctor, context::Session, error::Failure, exit::Exit, json::DoctorDocument, render,
};

/// Looks for what is known to go wrong; writes nothing.
pub(crate) fn doctor(session: &Session, args: &Doctor) -> Result<Exit, Failure> {
    let hooks = hooks(session);
    let found = session.confined(async |_, reader| examine(reader, hooks.as_deref()).await)?;
    let examination = found.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let exit = if examination.findings.is_empty() {
        Exit::Done
    } else {
        Exit::Pending
    };
    if args.json {
        render::data(&DoctorDocument::text(examination));
    } else if args.show_fix {
        fix(session, &examination)?;
    } else {
        render::page(&render::examination(&examination));
    }
    Ok(exit)
}

/// Names the hooks that were applied; `None` if this user may not know.
fn hooks(session: &Session) -> Option<Vec<String>> {
    let committed = committed(&StateFolder::at(&session.state)).ok()?;
    let wanted = committed.into_iter().flat_map(|(_, wanted)| wanted);
    let is_hook = |wanted: &Wanted| {
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
fn fix(session: &Session, examination: &Examination) -> Result<(), Failure> {
    let Some(text) = examination.spec() else {
        render::page("A spec can fix none of the findings.\n");
        return Ok(());
    };
    render::data(&text);
    let plan = plan_of(session, text)?;
    render::data("\n");
    render::page(&session.page_of(&plan));
    render::message("Add these lines to your spec, then run `stead apply`.\n");
    Ok(())
}

fn plan_of(session: &Session, text: String) -> Result<Plan, Failure> {
    let source = Arc::new(Source::new("doctor.kdl", text));
    let spec = decode(&source, &session.registry)?;
    let graph = Graph::build(spec, &session.registry)?;
    Ok(session
        .confined(async |registry, reader| planner::plan(registry, reader, &graph).await)??)
}
