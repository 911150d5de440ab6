//! The engine on a strict world in memory.
#![expect(clippy::unwrap_used, reason = "a test")]

mod cause;
mod confirm;
mod damaged;
mod every_end;
mod graph;
mod import;
mod promises;
mod pruned;
mod traces;
mod unclean;
mod world;
