//! The client of snapd's API.

pub(crate) mod client;
pub(crate) mod hold;
pub(crate) mod list;
