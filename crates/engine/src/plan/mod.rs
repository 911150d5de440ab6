//! From a spec and a host to a plan: dependency graph, observation, merge, diff and order.

pub mod cause;
pub mod dependencies;
pub mod diff;
pub mod document;
pub mod graph;
pub mod merge;
pub mod observe;
pub mod planner;
pub mod recorded;
pub(crate) mod state_digests;
