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
pub mod journal;
pub mod kept_spec;
pub mod language;
#[expect(
    clippy::disallowed_methods,
    reason = "the run folder and its lock are what the engine itself keeps"
)]
pub mod lock;
pub mod model;
pub mod plan;
mod probe;
mod proof;
pub mod provider;
mod prune;
pub mod recover;
pub mod rehearsal;
mod rollback;
mod running;
#[expect(
    clippy::disallowed_methods,
    reason = "the run folder and its lock are what the engine itself keeps"
)]
pub mod state_folder;
pub mod translate;
pub mod undo;
pub mod window;
