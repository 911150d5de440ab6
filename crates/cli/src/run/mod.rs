//! Executing a plan from the terminal: lock, prompt, progress and confirmation.

pub(crate) mod confirmation;
pub(crate) mod executor;
