//! Exit codes, the same for every command.

use std::process::ExitCode;

use stead_engine::history::journal::Outcome;

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
    /// Another run holds the lock, or waits to be confirmed.
    Locked = 6,
    /// It was not confirmed, or a check failed that had passed, and the host was put back.
    NotConfirmed = 7,
    /// Imported, but something could not be seen or said.
    Incomplete = 8,
}

impl Exit {
    /// All of them, each with what it means, as help, the manual and the guide say it.
    pub(crate) const MEANINGS: [(Self, &str); 9] = [
        (Self::Done, "done, or nothing to change"),
        (Self::Failed, "failed, the host is as before"),
        (Self::Usage, "usage or spec error"),
        (
            Self::Pending,
            "changes are pending, `doctor` found something, or `test` planned something else than was expected",
        ),
        (Self::Residue, "failed and the rollback left residue"),
        (Self::Stale, "stale plan, nothing done"),
        (Self::Locked, "another run holds the lock"),
        (
            Self::NotConfirmed,
            "not confirmed, or a check failed that had passed; the host is as before",
        ),
        (
            Self::Incomplete,
            "imported, but something could not be seen or said, and it is named",
        ),
    ];
}

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done { .. } | Outcome::Pending { .. } => Self::Done,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::CheckFailed { .. } | Outcome::NotConfirmed { .. } => Self::NotConfirmed,
            Outcome::Residue { .. } => Self::Residue,
            Outcome::Stale { .. } => Self::Stale,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
