//! The type of the live host. What the engine needs of it is in `src/live.rs`.

/// A live Linux host.
#[derive(Debug)]
pub struct LinuxHost;
