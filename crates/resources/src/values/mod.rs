//! Canonical value types that several kinds share: modes, owners, paths, settings, patterns.

pub(crate) mod access;
pub(crate) mod glob;
pub(crate) mod implied_hook;
pub(crate) mod path;
pub(crate) mod secret_patterns;
pub(crate) mod setting;
