//! The databases of dpkg and of alternatives.

pub(crate) mod alternatives;
pub(crate) mod database;
pub(crate) mod owners;
