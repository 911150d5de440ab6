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

pub use boot::{HostClone, boot_blocker};
pub use enter::{CloneEntry, enter, kill_inside};
pub use error::CloneError;
pub use host_state::{HostState, OverlayDirs, REHEARSAL_NAME};
pub use kernel::{KernelSettings, apply_settings, read_settings};
pub use memory::memory_used;
pub use namespaces::idle_init;
pub use snapshot::take_snapshot;
pub use supervisor::Supervisor;

/// Whether a path fits a pattern of [`stead_engine::provider::capabilities::Footprint::managed_paths`].
pub fn matches_path(pattern: &str, path: &str) -> bool {
    crate::values::glob::matches(pattern, path)
}
