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
    /// It was not confirmed, or a check failed that had passed; it was rolled back.
    NotConfirmed = 7,
    /// Imported, but something could not be read or expressed.
    Incomplete = 8,
}

impl Exit {
    /// All of them, each with what it means, as help, the manual and the guide say it.
    pub(crate) const MEANINGS: [(Self, &str); 9] = [
        (Self::Done, "done, or nothing to change"),
        (Self::Failed, "failed; the host is as before"),
        (Self::Usage, "error on the command line or in the spec"),
        (
            Self::Pending,
            "changes are pending, `doctor` has findings, or a plan of `test` is not the expected one",
        ),
        (
            Self::Residue,
            "failed, and not everything could be rolled back; the residue is named",
        ),
        (
            Self::Stale,
            "stale plan: the host has changed since; nothing was applied",
        ),
        (
            Self::Locked,
            "another run is in progress or waits to be confirmed",
        ),
        (
            Self::NotConfirmed,
            "not confirmed, or a check failed that had passed; rolled back",
        ),
        (
            Self::Incomplete,
            "imported, but something could not be read or expressed; it is named",
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
