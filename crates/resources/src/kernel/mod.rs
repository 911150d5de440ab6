//! The kernel's modules, memory and settings.

pub(crate) mod meminfo;
pub(crate) mod modules;
pub(crate) mod sysctl_d;
