//! What a kind of resource provides (`traits`), and the registry that adapts its state type to JSON.

pub mod registry;
pub mod traits;
