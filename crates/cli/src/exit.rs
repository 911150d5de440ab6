//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to change.
    Done = 0,
    /// Failed; the host is as before.
    Failed = 1,
    /// A mistake in the command line or in the spec.
    Usage = 2,
    /// Changes are pending.
    Pending = 3,
    /// Failed, and the rollback left residue.
    Residue = 4,
    /// The host has moved since the plan; nothing was done.
    Stale = 5,
    /// Another run holds the lock.
    Locked = 6,
    /// A check failed that had passed, and the host was put back.
    CheckFailed = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
