//! Waiting for what others do in their own time.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take. Tests ask whether it comes, not when, and machines may be busy.
const TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Looks until there is what is looked for, and returns it.
///
/// # Panics
/// If it does not come, with what `look` said last.
pub fn wait_for<T>(mut poll: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match poll() {
            Ok(found) => return found,
            Err(instead) if begin.elapsed() > TIMEOUT => panic!("{instead}"),
            Err(_) => sleep(POLL_INTERVAL),
        }
    }
}

/// Waits until something is so.
///
/// # Panics
/// If it does not become so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(|| {
        is_so()
            .then_some(())
            .ok_or_else(|| format!("not yet: {what}"))
    });
}
