//! The live host for the engine: the one place that knows both the host and its safety.

use stead_engine::{
    model::boot_time::BootTime,
    provider::host::{HealthCheck, Host, Watchdog, WatchdogError},
};

use crate::{
    host::{LinuxHost, Reader, Trigger, Writer},
    safety::{health, watchdog},
};

impl Host for LinuxHost {
    type Reader = Reader;
    type Writer = Writer;
    type Trigger = Trigger;

    fn reader(writer: &Writer) -> Reader {
        Reader::new(writer.root())
    }

    fn boot_id(reader: &Reader) -> String {
        reader.now().boot
    }

    fn now(writer: &Writer) -> BootTime {
        Reader::new(writer.root()).now()
    }

    async fn arm(writer: &Writer, watchdog: &Watchdog<'_>) -> Result<(), WatchdogError> {
        watchdog::arm(writer, watchdog).await
    }

    async fn disarm(writer: &Writer, run: u64) -> Result<(), WatchdogError> {
        watchdog::disarm(writer, run).await
    }

    async fn health_checks(writer: &Writer, since: &BootTime) -> Vec<HealthCheck> {
        health::check_all(&Reader::new(writer.root()), since).await
    }
}
