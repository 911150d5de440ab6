//! Executing a plan from the terminal: lock, prompt, progress and confirmation.

pub(crate) mod confirmation;
pub(crate) mod executor;
mod prompt;
pub(crate) mod runner;
