//! From a host to the text of a spec, with its coverage and its verification.

pub(crate) mod collect;
pub mod coverage;
pub mod ignore;
pub mod importer;
pub mod options;
pub mod translate;
pub(crate) mod verify;
