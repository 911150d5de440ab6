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
use stead_resources::host::landlock::read_only;

use self::server::Server;
use crate::{context::Session, error::Failure, exit::Exit, spec_input::Told};

/// Serves the editor at standard input and output until it says that it is done or goes away.
pub(crate) fn serve(session: Session, told: Told) -> Result<Exit, Failure> {
    // All threads that follow are begun by this one.
    read_only(&[]).map_err(|error| Failure::of(Exit::Failed, &error))?;
    let (connection, threads) = Connection::stdio();
    let ended = Server::new(session, told, connection).serve();
    match ended {
        Ok(exit) => {
            // What was said last is still to be written; what was not understood is said here.
            threads
                .join()
                .map_err(|error| Failure::of(Exit::Failed, &error))?;
            Ok(exit)
        }
        Err(gone) => Err(Failure::of(Exit::Failed, &gone)),
    }
}
