//! `stead graph`.

use stead_engine::plan::graph::Marks;

use crate::{
    args::{Drawing, Graph},
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    spec_input::{SpecTexts, Told, spec_path},
};

/// Draws what needs what.
pub(crate) fn graph(session: &Session, args: &Graph) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.spec.as_deref())?;
    let told = Told::of_any(&args.spec)?;
    let graph = session.graph(&SpecTexts::read(&path)?, &told)?;
    let marks = if args.changes {
        render::marks(&session.registry, &session.plan(&graph)?)
    } else {
        Marks::new()
    };
    render::data(&match args.format {
        Drawing::Dot => graph.dot(&marks),
        Drawing::Mermaid => graph.mermaid(&marks),
        Drawing::Svg => render::svg(&graph, &marks),
    });
    Ok(Exit::Done)
}
