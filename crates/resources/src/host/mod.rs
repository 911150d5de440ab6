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
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod program;
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
pub(crate) use kubernetes::pods::{Container, Pod, Resources, Service};
pub use kubernetes::{ClusterObject, Identity};
pub(crate) use program::OLD_IPTABLES;
pub use program::{Call, Query};
pub use read_log::Looked;
pub use reader::{Digested, Meta, MetaKind, Reader, Space};
pub(crate) use secret::{LARGEST as LARGEST_SECRET, Secret};
pub use sockets::{Connection, Knock};
pub(crate) use staged_file::{Folders, Staged};
use stead_engine::{
    model::boot_time::Moment,
    provider::traits::{Guard, GuardError, Host, Sign},
};
pub(crate) use systemd::NewUnit;
pub use systemd::{HeldUnit, Manager, UnitLinks, UnitStatus};
pub use timedate::Clock;
pub use watch::{Culprit, Lookout, Stirred, Trigger};
pub use writer::{Access, Existing, Writer};

/// A live Linux host.
#[derive(Debug)]
pub struct Live;

impl Host for Live {
    type Reader = Reader;
    type Writer = Writer;
    type Trigger = Trigger;

    fn reader(writer: &Writer) -> Reader {
        Reader::new(writer.root())
    }

    fn boot(reader: &Reader) -> String {
        reader.now().boot
    }

    fn now(writer: &Writer) -> Moment {
        Reader::new(writer.root()).now()
    }

    async fn arm(writer: &Writer, guard: &Guard<'_>) -> Result<(), GuardError> {
        crate::safety::watchdog::arm(writer, guard).await
    }

    async fn disarm(writer: &Writer, run: u64) -> Result<(), GuardError> {
        crate::safety::watchdog::disarm(writer, run).await
    }

    async fn signs(writer: &Writer, since: &Moment) -> Vec<Sign> {
        crate::safety::health::look(&Reader::new(writer.root()), since).await
    }
}
