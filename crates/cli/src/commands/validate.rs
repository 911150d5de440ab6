//! `stead validate`.

use crate::{
    args::SpecForAnyHost,
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    spec_input::{SpecOverrides, SpecTexts, find_spec},
};

/// Checks a spec without looking at the host.
pub(crate) fn validate(context: &Context, args: &SpecForAnyHost) -> Result<Exit, CommandError> {
    let path = find_spec(args.spec.spec.as_deref())?;
    let overrides = SpecOverrides::for_any_host(args)?;
    let graph = context.graph(&SpecTexts::read(&path)?, &overrides)?;
    let count = graph.resources().count();
    let noun = if count == 1 { "resource" } else { "resources" };
    render::eprint_message(&format!(
        "{} is valid: {}, {count} {noun}.\n",
        path.display(),
        graph.host()
    ));
    Ok(Exit::Done)
}
