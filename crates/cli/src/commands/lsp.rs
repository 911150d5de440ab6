//! `stead lsp`.

use crate::{
    args::LspArgs, context::Context, error::CommandError, exit::Exit, lsp::serve,
    spec_input::SpecOverrides,
};

/// Serves an editor until it says that it is done.
pub(crate) fn lsp(context: Context, args: &LspArgs) -> Result<Exit, CommandError> {
    let overrides = SpecOverrides::with_facts(&args.values, args.facts.as_deref())?;
    serve(context, overrides)
}
