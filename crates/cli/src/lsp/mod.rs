//! `stead lsp`: the Language Server Protocol for specs. It reads what `validate`, `fmt` and `explain` read, with the texts that are open in
//! the editor instead of the files on disk, and writes nothing but its answers.

mod completion;
mod definition;
pub(crate) mod diagnostics;
mod documents;
pub(crate) mod host_cache;
mod hover;
pub(crate) mod line_index;
pub(crate) mod position;
mod server;
pub(crate) mod workspace;

use lsp_server::Connection;
use stead_resources::host::landlock::forbid_writes;

use self::server::Server;
use crate::{context::Context, error::CommandError, exit::Exit, spec_input::SpecOverrides};

/// Serves the editor at standard input and output until it says that it is done or goes away.
pub(crate) fn serve(context: Context, overrides: SpecOverrides) -> Result<Exit, CommandError> {
    // All threads that follow are begun by this one.
    forbid_writes(&[]).map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
    let (connection, threads) = Connection::stdio();
    let ended = Server::new(context, overrides, connection).serve();
    match ended {
        Ok(exit) => {
            // What was said last is still to be written; what was not understood is said here.
            threads
                .join()
                .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
            Ok(exit)
        }
        Err(gone) => Err(CommandError::from_error(Exit::Failed, &gone)),
    }
}
