//! The engine of stead: from a spec to a plan, an apply and a rollback. It names no kind of resource,
//! and the only files it touches are those of its own run folder.

pub mod drift;
pub mod finding;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod import;
pub mod language;
pub mod model;
pub mod plan;
pub mod provider;
pub mod rehearsal;
pub mod run;
