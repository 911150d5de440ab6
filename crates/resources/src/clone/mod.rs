//! A copy-on-write clone of the running host, booted in namespaces. A process with its own mount and PID namespaces
//! creates it: when it exits, everything of the clone ends with it.

mod boot;
pub(crate) mod diff;
mod enter;
mod error;
pub(crate) mod host_state;
mod kernel;
mod memory;
pub(crate) mod namespaces;
pub(crate) mod overlay;
pub(crate) mod snapshot;
pub(crate) mod supervisor;

pub use boot::{HostClone, why_no_init};
pub use enter::{Entry, enter, kill_inside};
pub use error::CloneError;
pub use host_state::{Layers, NAME, Traces};
pub use kernel::{Settings, set, settings};
pub use memory::memory;
pub use namespaces::idle;
pub use snapshot::look;
pub use supervisor::Holder;

/// Whether a path fits a pattern of [`stead_engine::provider::capabilities::Footprint::managed_paths`].
pub fn is_place(pattern: &str, path: &str) -> bool {
    crate::values::glob::fits(pattern, path)
}
