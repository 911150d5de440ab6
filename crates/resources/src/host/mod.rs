//! The host: the only room that touches files, programs and sockets. A [`Reader`] has no way to write.

pub(crate) mod batch;
pub(crate) mod beneath;
mod dns;
mod error;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod http;
pub(crate) mod inotify_limits;
pub(crate) mod interfaces;
mod kubernetes;
pub mod landlock;
mod live;
mod meta;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod program;
mod query;
pub(crate) mod read_log;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod reader;
mod secret;
mod sockets;
pub(crate) mod staged_file;
mod systemd;
pub(crate) mod timedate;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod watch;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod writer;

pub(crate) use batch::{Look, Opened, Threads, at_once, shared};
pub use error::HostError;
pub use http::Reply;
pub use inotify_limits::WatchRoom;
pub use kubernetes::object::{ClusterObject, Identity};
pub(crate) use kubernetes::pods::{Container, Pod, Resources, Service};
pub use live::Live;
pub(crate) use meta::Secret;
pub use meta::{Access, Digested, Existing, Meta, MetaKind};
pub use program::Call;
pub(crate) use program::OLD_IPTABLES;
pub use query::Query;
pub use read_log::Looked;
pub use reader::{Reader, Space};
pub(crate) use secret::LARGEST as LARGEST_SECRET;
pub use sockets::{Connection, Knock};
pub(crate) use staged_file::{Folders, Staged};
pub(crate) use systemd::NewUnit;
pub use systemd::{HeldUnit, Manager, UnitLinks, UnitStatus};
pub use timedate::Clock;
pub use watch::{
    Lookout,
    process::Culprit,
    trigger::{Stirred, Trigger},
};
pub use writer::Writer;
