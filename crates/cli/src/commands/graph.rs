//! `stead graph`.

use stead_engine::plan::graph::NodeStyles;

use crate::{
    args::{GraphArgs, GraphFormat},
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    spec_input::{SpecOverrides, SpecTexts, find_spec},
};

/// Draws what needs what.
pub(crate) fn graph(context: &Context, args: &GraphArgs) -> Result<Exit, CommandError> {
    let path = find_spec(args.spec.spec.spec.as_deref())?;
    let overrides = SpecOverrides::for_any_host(&args.spec)?;
    let graph = context.graph(&SpecTexts::read(&path)?, &overrides)?;
    let marks = if args.changes {
        render::marks(&context.registry, &context.plan(&graph)?)
    } else {
        NodeStyles::new()
    };
    render::print_data(&match args.format {
        GraphFormat::Dot => graph.dot(&marks),
        GraphFormat::Mermaid => graph.mermaid(&marks),
        GraphFormat::Svg => render::svg(&graph, &marks),
    });
    Ok(Exit::Done)
}
