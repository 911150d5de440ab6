//! A copy-on-write clone of the running host, booted in namespaces of its own. Made by a process that has mount and PID namespaces of
//! its own already: when it goes, everything of the clone goes with it.

mod boot;
pub(crate) mod diff;
mod enter;
pub(crate) mod host_state;
mod kernel;
mod memory;
pub(crate) mod namespaces;
pub(crate) mod overlay;
pub(crate) mod snapshot;
pub(crate) mod supervisor;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use boot::{HostClone, why_no_init};
use diff::files;
pub use enter::{Entry, enter, kill_inside};
pub use host_state::{Layers, NAME, Traces};
pub use kernel::{Settings, set, settings};
pub use memory::memory;
pub use namespaces::idle;
pub use snapshot::{START, look};
pub use supervisor::Holder;

/// A clone could not be made, or does not work.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// Something that the clone needs is not on this host.
    #[error("cannot clone this host: {what}; {help}")]
    Lacks {
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
fn refused<E: Into<io::Error>>(attempted: impl Into<String>) -> impl FnOnce(E) -> CloneError {
    let attempted = attempted.into();
    move |source| CloneError::Refused {
        attempted,
        source: source.into(),
    }
}

/// Whether a path fits a pattern of [`stead_engine::provider::traits::Provider::places`].
pub fn is_place(pattern: &str, path: &str) -> bool {
    crate::values::glob::fits(pattern, path)
}

/// Returns the path of a program of the host.
fn program(name: &str, package: &str) -> Result<PathBuf, CloneError> {
    find(name).ok_or_else(|| CloneError::Lacks {
        what: format!("the program `{name}` is not installed"),
        help: format!("install the package `{package}`"),
    })
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}
