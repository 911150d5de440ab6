//! Notifications to systemd: `sd_notify(3)`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use stead_engine::watch::backoff::RestoreHistory;
use stead_resources::host::Process;

/// How long a run may take until systemd is no longer told that all is well.
const MAX_RUN_TIME: Duration = Duration::from_mins(15);
/// How often systemd is told so.
pub(super) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);

/// Tells systemd, if it is there.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    drop(sd_notify::notify(state));
}

/// Tells systemd that all is well while a run is under way, but not for ever.
pub(super) fn keep_alive(is_done: &AtomicBool) {
    let begin = Instant::now();
    while !is_done.load(Ordering::Relaxed) && begin.elapsed() < MAX_RUN_TIME {
        notify(&[NotifyState::Watchdog]);
        thread::park_timeout(WATCHDOG_INTERVAL);
    }
}

/// Says in one line how things stand.
pub(super) fn status(watched: usize, history: &RestoreHistory<Process>) -> String {
    let repairs: u64 = history.iter().map(|(_, entry)| entry.total).sum();
    let suspended: Vec<_> = history
        .iter()
        .filter_map(|(address, entry)| Some(format!("{address}: {}", entry.given_up.as_ref()?)))
        .collect();
    let watched = match watched {
        1 => "1 resource".to_owned(),
        count => format!("{count} resources"),
    };
    let repairs = match repairs {
        0 => "nothing restored yet".to_owned(),
        1 => "1 restore".to_owned(),
        count => format!("{count} restores"),
    };
    let status = format!("watching {watched}, {repairs}");
    if suspended.is_empty() {
        return status;
    }
    format!("{status}; NO LONGER RESTORING: {}", suspended.join("; "))
}
