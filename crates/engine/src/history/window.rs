//! The confirmation window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest time between two looks at a run that waits.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// The shortest one.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// How long a run waits for its confirmation, from its last step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// In seconds.
    pub seconds: u64,
}

impl Window {
    /// Returns how long it is.
    pub fn length(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns how often somebody is to look at the run.
    pub fn look(self) -> Duration {
        (self.length() / 10).clamp(SHORTEST_LOOK, LONGEST_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_window_is_looked_at_more_often() {
        let look = |seconds| Window { seconds }.look().as_secs();
        assert_eq!([1, 10, 50, 120, 86_400].map(look), [1, 1, 5, 10, 10]);
    }
}
