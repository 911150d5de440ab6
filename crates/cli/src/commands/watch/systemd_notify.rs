//! What systemd is told: `sd_notify(3)`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use stead_engine::watch::backoff::Bouts;
use stead_resources::host::Culprit;

/// How long a run may take until systemd is no longer told that all is well.
const LONGEST_RUN: Duration = Duration::from_mins(15);
/// How often systemd is told so.
pub(super) const PULSE: Duration = Duration::from_secs(10);

/// Tells systemd, if it is there.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    drop(sd_notify::notify(state));
}

/// Tells systemd that all is well while a run is under way, but not for ever.
pub(super) fn pulse(is_done: &AtomicBool) {
    let begin = Instant::now();
    while !is_done.load(Ordering::Relaxed) && begin.elapsed() < LONGEST_RUN {
        tell(&[NotifyState::Watchdog]);
        thread::park_timeout(PULSE);
    }
}

/// Says in one line how things stand.
pub(super) fn status(watched: usize, bouts: &Bouts<Culprit>) -> String {
    let mends: u64 = bouts.iter().map(|(_, bout)| bout.total).sum();
    let given_up: Vec<_> = bouts
        .iter()
        .filter_map(|(address, bout)| Some(format!("{address}: {}", bout.given_up.as_ref()?)))
        .collect();
    let status = format!("{watched} resources watched, {mends} times brought back");
    if given_up.is_empty() {
        return status;
    }
    format!("{status}; LEFT ALONE: {}", given_up.join("; "))
}
