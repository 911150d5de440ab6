//! Executing a plan: apply, checks, rollback, recovery, confirmation and undo.

pub mod apply;
pub(crate) mod checks;
pub mod confirm;
pub mod context;
pub mod event;
pub(crate) mod progress;
pub mod recover;
pub(crate) mod rollback;
pub(crate) mod rollback_run;
pub mod undo;
