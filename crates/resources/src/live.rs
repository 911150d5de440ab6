//! The live host for the engine: the one place that knows both the host and its safety.

use stead_engine::{
    model::boot_time::Moment,
    provider::host::{Guard, GuardError, Host, Sign},
};

use crate::{
    host::{Live, Reader, Trigger, Writer},
    safety::{health, watchdog},
};

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
        watchdog::arm(writer, guard).await
    }

    async fn disarm(writer: &Writer, run: u64) -> Result<(), GuardError> {
        watchdog::disarm(writer, run).await
    }

    async fn signs(writer: &Writer, since: &Moment) -> Vec<Sign> {
        health::look(&Reader::new(writer.root()), since).await
    }
}
