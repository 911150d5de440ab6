//! The engine on a strict world in memory.
#![expect(clippy::unwrap_used, reason = "a test")]

mod graph;
mod promises;
mod traces;
mod world;
