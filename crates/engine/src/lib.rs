//! The engine of stead: from a spec to a plan, an apply and a rollback. It names no kind of resource, and the only files it touches are its own.

pub mod model;

pub mod provider;

pub mod language;

pub mod plan;

pub mod history;

pub mod run;

pub mod drift;

pub mod watch;

pub mod import;

pub mod rehearsal;

#[doc(hidden)]
pub mod fuzzing;
