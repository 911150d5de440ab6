//! Errors of creating a clone, and the programs that it needs.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A clone could not be made, or does not work.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// Something that the clone needs is not on this host.
    #[error("cannot clone this host: {what}; {help}")]
    Missing {
        /// What is not there.
        what: String,
        /// What to do about it.
        help: String,
    },
    /// The system refused something.
    #[error("cannot {attempted}")]
    Refused {
        /// What was attempted, as an infinitive.
        attempted: String,
        /// What it answered.
        #[source]
        source: io::Error,
    },
    /// The clone did not come up, or ended by itself.
    #[error("the clone {what}")]
    Down {
        /// What happened, as the rest of a sentence; the end of its console.
        what: String,
    },
}

/// Makes the error of something that was attempted.
pub(super) fn refused<E: Into<io::Error>>(
    attempted: impl Into<String>,
) -> impl FnOnce(E) -> CloneError {
    let attempted = attempted.into();
    move |source| CloneError::Refused {
        attempted,
        source: source.into(),
    }
}

/// Returns the path of a program of the host.
pub(super) fn require_program(name: &str, package: &str) -> Result<PathBuf, CloneError> {
    find_program(name).ok_or_else(|| CloneError::Missing {
        what: format!("the program `{name}` is not installed"),
        help: format!("install the package `{package}`"),
    })
}

pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}
