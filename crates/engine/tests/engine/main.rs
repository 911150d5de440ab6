//! The engine on a strict world in memory.
#![expect(clippy::unwrap_used, reason = "a test")]

mod cause;
mod cleanup;
mod confirm;
mod damaged_journal;
mod graph;
mod import;
mod promises;
mod pruning;
mod remnants;
mod run_ends;
mod world;
