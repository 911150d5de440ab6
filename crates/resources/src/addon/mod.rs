//! Addons of `MicroK8s`: which there are, which are enabled and whose objects are whose, and how they are switched.

pub(crate) mod catalogue;
pub(crate) mod cluster;
mod hazards;
pub(crate) mod listed;
pub(crate) mod record;
pub(crate) mod switch;
