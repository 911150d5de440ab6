//! The engine of stead: from a spec to a plan, an apply and a rollback. It names no kind of resource,
//! and the only files it touches are those of its own run folder.

pub mod address;
pub mod change;
pub mod provider;
pub mod registry;
pub mod schema;
pub mod spec;
pub mod spec_error;
