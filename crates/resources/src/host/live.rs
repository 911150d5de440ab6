//! The live host, as a type that stands for it. What the engine wants of it is in `src/live.rs`.

/// A live Linux host.
#[derive(Debug)]
pub struct Live;
