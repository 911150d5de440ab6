//! Triggers, and that one has fired.

use std::path::{Path, PathBuf};

use crate::host::{HostError, watch::process::Process};

/// Something whose change tells that a resource may have moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// A file, or what is in a directory.
    Path(PathBuf),
    /// A small file of the kernel that tells nobody when it changes.
    Value(PathBuf),
    /// A chain of iptables, in either back end.
    Chain {
        /// Its table.
        table: String,
        /// Its name.
        chain: String,
    },
}

/// A trigger that has gone off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerEvent {
    /// Which.
    pub trigger: Trigger,
    /// Who did it, if that can be known.
    pub process: Option<Process>,
}

/// Returns an error of a service of the kernel.
pub(crate) fn service_error(service: &str) -> impl Fn(std::io::Error) -> HostError {
    let service = service.to_owned();
    move |error| HostError::Service {
        service: service.clone(),
        fault: error.to_string(),
    }
}

/// Returns a path below the root.
pub(crate) fn path_under_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
