//! A spec that is tried on a clone of the host: what of it can be tried there, what changed, and what came of it.

pub mod difference;
pub mod planning;
pub mod report;
pub mod returning;
