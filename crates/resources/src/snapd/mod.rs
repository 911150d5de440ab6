//! The client of snapd's API.

pub(crate) mod client;
