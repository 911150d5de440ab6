//! The host that resources live on, and what watches over a run from outside this process.

use std::{error::Error, future::Future, path::Path, time::Duration};

use crate::model::boot_time::BootTime;

/// A world that resources live in. The real one is a Linux host; the tests of the engine bring their own.
pub trait Host: Send + Sync + 'static {
    /// One moment of the host, read only: what it has read once it need not read again.
    type Reader: Send + Sync + 'static;
    /// The power to change the host.
    type Writer: Send + Sync + 'static;
    /// Something whose change tells that a resource may have moved, such as a file.
    type Trigger: Clone + Ord + Send + Sync + 'static;

    /// Starts a new moment, so that nothing read earlier is believed.
    fn reader(writer: &Self::Writer) -> Self::Reader;

    /// Returns what tells the present boot from every other, or nothing where that cannot be seen.
    fn boot_id(reader: &Self::Reader) -> String;

    /// Returns the present moment.
    fn now(writer: &Self::Writer) -> BootTime;

    /// Sees to it that somebody looks after a run from outside this process, and at each boot, until [`Self::disarm`]. What a kill
    /// in the middle leaves of it does so too, or does nothing.
    fn arm(
        writer: &Self::Writer,
        watchdog: &Watchdog<'_>,
    ) -> impl Future<Output = Result<(), WatchdogError>> + Send;

    /// Ends that, and removes what it has left. Nothing needs to be there.
    fn disarm(
        writer: &Self::Writer,
        run: u64,
    ) -> impl Future<Output = Result<(), WatchdogError>> + Send;

    /// Looks at what should go on working whatever a run changes. `since` is the end of its last step, or its beginning.
    fn health_checks(
        _writer: &Self::Writer,
        _since: &BootTime,
    ) -> impl Future<Output = Vec<HealthCheck>> + Send {
        async { vec![] }
    }
}

/// Who is to be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog<'a> {
    /// The run.
    pub run: u64,
    /// The directory of all runs.
    pub state_dir: &'a Path,
    /// How often.
    pub poll_interval: Duration,
}

/// A guard could not be armed or disarmed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted}")]
pub struct WatchdogError {
    /// What was attempted, as an infinitive.
    pub attempted: String,
    /// What the system answered.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Something that should go on working whatever a run changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What, as the subject of a sentence.
    pub name: &'static str,
    /// How long after the last step it may take until it works again.
    pub grace_period: Duration,
    /// Why it does not work, if it does not.
    pub fault: Option<String>,
}
