//! What keeps a remote host reachable: watchdog, health checks and the SSH session.

pub(crate) mod health;
pub mod ssh;
pub(crate) mod watchdog;
