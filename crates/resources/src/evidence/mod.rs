//! What shows who or what has moved something since a run: times of files, starts of units, and what programs have noted.
//! Whatever cannot be read proves nothing.

pub(crate) mod firewalls;
pub(crate) mod forwarding;
pub(crate) mod netfilter;
pub(crate) mod paths;
pub(crate) mod snap_changes;
pub(crate) mod starts;
pub(crate) mod sudo;
pub(crate) mod times;
