//! `stead graph`.

use crate::{
    args::{Drawing, Graph},
    exit::Exit,
    failure::Failure,
    render,
    session::{Session, spec_path},
};

/// Draws what needs what.
pub(crate) fn graph(session: &Session, args: &Graph) -> Result<Exit, Failure> {
    let graph = session.graph_for(&spec_path(args.spec.spec.spec.as_deref())?, &args.spec)?;
    render::data(&match args.format {
        Drawing::Dot => graph.dot(),
        Drawing::Mermaid => graph.mermaid(),
        Drawing::Svg => crate::render::svg(&graph),
    });
    Ok(Exit::Done)
}
