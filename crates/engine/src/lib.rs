//! The engine of stead: from a spec to a plan, an apply and a rollback. It names no kind of resource,
//! and the only files it touches are those of its own run folder.

pub mod apply;
pub mod cause;
pub mod confirm;
pub mod coverage;
pub mod event;
pub mod finding;
mod gather;
mod going_back;
pub mod history;
pub mod ignore;
pub mod import;
pub mod language;
pub mod model;
pub mod plan;
mod probe;
mod proof;
pub mod provider;
pub mod recover;
pub mod rehearsal;
mod rollback;
mod running;
pub mod translate;
pub mod undo;
