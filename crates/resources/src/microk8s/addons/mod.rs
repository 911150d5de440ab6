//! Addons of `MicroK8s`: which exist, which are enabled, which objects belong to them, and how they are enabled and disabled.

pub(crate) mod catalog;
pub(crate) mod cluster;
pub(crate) mod collateral;
pub(crate) mod export;
pub(crate) mod record;
pub(crate) mod repositories;
pub(crate) mod suggest;
pub(crate) mod switch;
