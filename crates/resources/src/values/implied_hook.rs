//! The hook that a resource adds, if something else overwrites what it applied.

use serde_json::json;
use stead_engine::{model::address::Address, model::state::Desired};

/// The kind of such a resource.
pub(crate) const KIND: &str = "hook";
/// Runs at each start of the host, and whenever one of the units that overwrite something starts.
pub(crate) const BOOT: &str = "boot";
/// Runs after each refresh or revert of MicroK8s.
pub(crate) const SNAP_REFRESH: &str = "snap-refresh";

/// The hook that a resource brings with it, which a reboot loses.
pub(crate) fn boot() -> Vec<(Address, Desired)> {
    vec![implied(BOOT)]
}

/// The hook that a resource brings with it, which a refresh of MicroK8s may overwrite.
pub(crate) fn snap_refresh() -> (Address, Desired) {
    implied(SNAP_REFRESH)
}

pub(crate) fn implied(name: &str) -> (Address, Desired) {
    (Address::new(KIND, name), Desired::present(json!({})))
}
