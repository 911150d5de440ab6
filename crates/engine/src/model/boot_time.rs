//! Time by a monotonic clock of a boot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in the life of a host: which boot, and how long after it. The clock on the wall may be set back or forward; this one may not,
/// and it goes on while the host sleeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// What tells this boot from every other.
    pub boot: String,
    /// Milliseconds since it.
    pub milliseconds: u64,
}

impl BootTime {
    /// Returns the moment that is so much later.
    #[must_use]
    pub fn plus(&self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            boot: self.boot.clone(),
            milliseconds: self.milliseconds.saturating_add(by),
        }
    }

    /// Whether `other` is over, seen from here. Moments of another boot are.
    pub fn has_passed(&self, other: &Self) -> bool {
        self.boot != other.boot || self.milliseconds >= other.milliseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_has_passed_after_a_reboot() {
        let moment = |boot: &str, milliseconds| BootTime {
            boot: boot.to_owned(),
            milliseconds,
        };
        let deadline = moment("a", 10).plus(Duration::from_millis(5));
        assert_eq!(deadline, moment("a", 15));
        assert!(!moment("a", 14).has_passed(&deadline));
        assert!(moment("a", 15).has_passed(&deadline));
        assert!(moment("b", 0).has_passed(&deadline));
    }
}
