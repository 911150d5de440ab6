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
mod upload;
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

pub(crate) use batch::{OpenFile, Parallelism, PathBatch, par_chunks, par_map};
pub use error::HostError;
pub use http::HttpResponse;
pub use inotify_limits::InotifyLimits;
pub use kubernetes::object::{ClusterObject, ObjectIdentity};
pub(crate) use kubernetes::pods::{Container, Pod, ResourceRequirements, Service};
pub use live::LinuxHost;
pub(crate) use meta::Secret;
pub use meta::{FileAttributes, FileDigest, IfExists, Meta, MetaKind};
pub use program::CommandSpec;
pub(crate) use program::OLD_IPTABLES;
pub use query::ReadOnlyCommand;
pub use read_log::ReadRecord;
pub use reader::{DiskSpace, Reader};
pub(crate) use secret::LARGEST as LARGEST_SECRET;
pub use sockets::{TcpConnection, TcpProbe};
pub(crate) use staged_file::{DirsToSync, StagedFile};
pub(crate) use systemd::TransientUnit;
pub use systemd::{Manager, UnitFileChange, UnitJob, UnitRef, UnitStatus};
pub use timedate::Clock;
pub use watch::{
    Watcher,
    process::Process,
    trigger::{Trigger, TriggerEvent},
};
pub use writer::Writer;
