//! Errors of the host.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The host refused to do something to a path.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A system call failed.
    #[error("cannot {attempted} `{path}`")]
    Io {
        /// What was attempted, as an infinitive.
        attempted: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A directory on the way to the path is a symlink. Following it could lead anywhere.
    #[error("`{link}` in the path `{path}` is a symlink; write the real path")]
    ThroughSymlink {
        /// The path.
        path: PathBuf,
        /// The part of it that is a link.
        link: PathBuf,
    },
    /// The bytes are not those that were planned.
    #[error("`{path}` has changed since the plan was made")]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// The bytes of a digest are nowhere.
    #[error("the contents with SHA-256 {sha256} were not saved")]
    NoContents {
        /// The digest, in hexadecimal.
        sha256: String,
    },
    /// A service of the host did not answer as it should.
    #[error("{service}: {fault}")]
    Service {
        /// The service: its socket, address or name.
        service: String,
        /// What happened.
        fault: String,
    },
    /// A program that is needed is not there.
    #[error("the program `{program}` is not installed; install the package `{package}`")]
    NoProgram {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program failed.
    #[error("`{program}` {fault}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// How it failed and what it said.
        fault: String,
    },
}

impl HostError {
    /// Whether this user has no right to it, which root would have.
    pub(crate) fn is_not_allowed(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Returns a function that makes the error of a failed call.
    pub(crate) fn io<E: Into<io::Error>>(
        attempted: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |source| Self::Io {
            attempted,
            path,
            source: source.into(),
        }
    }
}
