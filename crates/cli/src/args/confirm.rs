//! What `--confirm` says.

/// Whether a run waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// It does not.
    Off,
    /// Until somebody does, or it is known that all is well; so many seconds, if that is told.
    Auto(Option<u64>),
    /// So many seconds, until somebody does.
    Within(u64),
}
