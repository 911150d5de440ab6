//! Notifications to systemd: `sd_notify(3)`.

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
    let watched = match watched {
        1 => "1 resource".to_owned(),
        count => format!("{count} resources"),
    };
    let mends = match mends {
        0 => "nothing restored yet".to_owned(),
        1 => "1 restore".to_owned(),
        count => format!("{count} restores"),
    };
    let status = format!("watching {watched}, {mends}");
    if given_up.is_empty() {
        return status;
    }
    format!("{status}; NO LONGER RESTORING: {}", given_up.join("; "))
}
