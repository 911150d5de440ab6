//! The kinds of resource that stead knows, and the host they live on. This file is a list of rooms and nothing else.

pub mod host;

pub mod values;

pub mod files;

mod accounts;
pub mod dpkg;
pub mod kernel;

pub mod systemd;

pub mod snapd;

mod netfilter;

pub mod microk8s;

mod etc;
mod evidence;
pub mod safety;

pub mod kinds;

pub mod facts;

pub mod doctor;
pub mod foreign;

#[expect(
    clippy::disallowed_methods,
    reason = "a clone is files, mounts and processes of its own"
)]
pub mod clone;

mod live;

#[doc(hidden)]
pub mod fuzzing;

pub use kinds::registry;
pub use safety::hook_files::{defers_to_watch, start_recovery_unit};
pub use snapd::client::wait_until_settled;
