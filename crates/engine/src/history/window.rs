//! The confirmation window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest time between two looks at a run that waits.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest one.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a run waits for its confirmation, from its last step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmWindow {
    /// In seconds.
    pub seconds: u64,
}

impl ConfirmWindow {
    /// Returns how long it is.
    pub fn length(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns how often somebody is to look at the run.
    pub fn poll_interval(self) -> Duration {
        (self.length() / 10).clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_interval_is_shorter_for_short_windows() {
        let look = |seconds| ConfirmWindow { seconds }.poll_interval().as_secs();
        assert_eq!([1, 10, 50, 120, 86_400].map(look), [1, 1, 5, 10, 10]);
    }
}
