//! The engine of stead: from a spec to a plan, an apply and a rollback. It names no kind of resource,
//! and the only files it touches are those of its own run folder.

mod abridged;
pub mod apply;
pub mod cause;
mod circle;
pub mod compare;
mod condition;
pub mod confirm;
pub mod coverage;
mod cross_check;
mod decode;
pub mod diff;
pub mod editor;
pub mod event;
pub mod expectation;
pub mod export;
mod files;
pub mod finding;
pub mod format;
mod fragment;
mod gather;
pub mod given;
mod going_back;
pub mod graph;
pub mod history;
pub mod ignore;
pub mod import;
pub mod journal;
pub mod kept_spec;
mod lexer;
#[expect(
    clippy::disallowed_methods,
    reason = "the run folder and its lock are what the engine itself keeps"
)]
pub mod lock;
pub mod model;
pub mod needs;
pub mod observe;
mod parse;
mod pieces;
pub mod plan;
mod probe;
mod proof;
pub mod provenance;
pub mod provider;
mod prune;
pub mod recover;
pub mod rehearsal;
pub mod resolve;
mod rollback;
mod running;
pub mod source;
pub mod spec;
pub mod spec_error;
#[expect(
    clippy::disallowed_methods,
    reason = "the run folder and its lock are what the engine itself keeps"
)]
pub mod state_folder;
pub mod surroundings;
mod syntax;
pub mod translate;
pub mod undo;
mod value;
mod values;
mod variable;
pub mod window;
mod written;
