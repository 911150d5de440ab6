//! The host: the only room that touches files, programs and sockets. A [`Reader`] has no way to write.

pub mod confine;
mod error;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod http;
mod kubernetes;
mod place;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod program;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod reader;
mod systemd;
#[expect(
    clippy::disallowed_methods,
    reason = "the host is the room that touches it"
)]
mod writer;

pub use error::HostError;
pub use http::Reply;
pub use program::{Call, Query};
pub use reader::{Digested, Meta, MetaKind, Reader};
use stead_engine::provider::Host;
pub use systemd::{HeldUnit, UnitLinks, UnitStatus};
pub use writer::{Access, Existing, Writer};

/// A live Linux host.
#[derive(Debug)]
pub struct Live;

impl Host for Live {
    type Reader = Reader;
    type Writer = Writer;

    fn reader(writer: &Writer) -> Reader {
        Reader::new(writer.root())
    }
}
