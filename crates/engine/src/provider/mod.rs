//! What a kind of resource provides (`traits`, `capabilities`), and the registry that calls it without its `State` type.

mod adapter;
pub mod capabilities;
pub mod erased;
pub mod error;
pub mod host;
pub mod registry;
pub mod traits;
