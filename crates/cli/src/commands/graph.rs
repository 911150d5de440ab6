//! `stead graph`.

use crate::{
    args::{Drawing, Graph},
    exit::Exit,
    failure::Failure,
    render,
    session::{Session, Told, spec_path},
};

/// Draws what needs what.
pub(crate) fn graph(session: &Session, args: &Graph) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.spec.as_deref())?;
    let graph = session.graph(&path, &Told::of_any(&args.spec)?, &[])?;
    render::data(&match args.format {
        Drawing::Dot => graph.dot(),
        Drawing::Mermaid => graph.mermaid(),
        Drawing::Svg => crate::render::svg(&graph),
    });
    Ok(Exit::Done)
}
