//! The kinds of resource that stead knows, and the host they live on. This file is a list of rooms and nothing else.

mod accounts;
#[expect(
    clippy::disallowed_methods,
    reason = "a clone is files, mounts and processes of its own"
)]
pub mod clone;
pub mod doctor;
mod etc;
mod evidence;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod netfilter;

pub mod dpkg;
pub mod files;
pub mod foreign;
pub mod kernel;
pub mod kinds;
mod live;
pub mod microk8s;
pub mod safety;
pub mod snapd;
pub mod systemd;
pub mod values;

pub use kinds::registry;
pub use safety::hook_files::{have_recovered, is_left_to_watch};
pub use snapd::client::wait_until_settled;
