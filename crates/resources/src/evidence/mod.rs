//! Evidence for who changed a resource since a run: times of files, starts of units, records of programs.
//! Unreadable sources count as no evidence.

pub(crate) mod firewalls;
pub(crate) mod forwarding;
pub(crate) mod netfilter;
pub(crate) mod paths;
pub(crate) mod snap_changes;
pub(crate) mod starts;
pub(crate) mod sudo;
pub(crate) mod times;
