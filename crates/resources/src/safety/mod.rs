//! What keeps a remote host reachable: watchdog, health checks and the SSH session.

pub(crate) mod health;
pub(crate) mod hook_files;
pub mod ssh;
pub(crate) mod watchdog;
