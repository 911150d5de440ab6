//! The vocabulary of the engine: addresses, states, changes, effects, schemas, facts. Plain data without I/O.

pub mod address;
pub mod boot_time;
pub mod change;
pub mod completion;
pub mod digest;
pub mod drift;
pub mod error_chain;
pub mod facts;
pub mod listing;
pub mod schema;
pub mod state;
pub mod suggest;
