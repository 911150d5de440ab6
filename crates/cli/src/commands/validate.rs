//! `stead validate`.

use crate::{
    args::AnySpec,
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    spec_input::{SpecTexts, Told, spec_path},
};

/// Checks a spec without looking at the host.
pub(crate) fn validate(session: &Session, args: &AnySpec) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.as_deref())?;
    let told = Told::of_any(args)?;
    let graph = session.graph(&SpecTexts::read(&path)?, &told)?;
    let count = graph.resources().count();
    let noun = if count == 1 { "resource" } else { "resources" };
    render::message(&format!(
        "{} is valid: {}, {count} {noun}.\n",
        path.display(),
        graph.host()
    ));
    Ok(Exit::Done)
}
