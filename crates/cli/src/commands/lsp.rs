//! `stead lsp`.

use crate::{
    args::Lsp, context::Session, error::Failure, exit::Exit, lsp::serve, spec_input::Told,
};

/// Serves an editor until it says that it is done.
pub(crate) fn lsp(session: Session, args: &Lsp) -> Result<Exit, Failure> {
    let told = Told::of_host(&args.values, args.facts.as_deref())?;
    serve(session, told)
}
