//! Addons of `MicroK8s`: which there are, which are enabled and whose objects are whose, and how they are switched.

pub(crate) mod catalog;
pub(crate) mod cluster;
pub(crate) mod collateral;
pub(crate) mod export;
pub(crate) mod record;
pub(crate) mod repositories;
pub(crate) mod suggest;
pub(crate) mod switch;
