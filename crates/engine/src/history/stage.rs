//! The stage of a run, derived from its journal.

use std::time::Duration;

use crate::{
    history::journal::{Outcome, Pending, Record, RetryState, RollbackReason},
    model::boot_time::BootTime,
};

/// How long a rollback that left something waits until it is tried again, for the first time. Then twice as long each time.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long it waits at most.
const MAX_RETRY_DELAY: Duration = Duration::from_mins(5);

/// What is to become of a run, by its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its steps are under way, or were when its process was killed.
    Started,
    /// It waits for its confirmation.
    Pending(Pending),
    /// It is rolled back, or was about to be when its process was killed.
    RollingBack {
        /// Why.
        cause: String,
        /// What made it do so.
        reason: RollbackReason,
        /// What the newest try has left, if there was one.
        retry: Option<RetryState>,
    },
    /// It has ended.
    Ended(Outcome),
}

impl Stage {
    /// Reads it from a journal.
    pub fn from_records(records: &[Record]) -> Self {
        let mut stage = Self::Started;
        for record in records {
            stage = match (record, stage) {
                (Record::Pending(pending), _) => Self::Pending(pending.clone()),
                (Record::RollingBack { cause, reason }, _) => Self::RollingBack {
                    cause: cause.clone(),
                    reason: *reason,
                    retry: None,
                },
                (Record::Retry(left), Self::RollingBack { cause, reason, .. }) => {
                    Self::RollingBack {
                        cause,
                        reason,
                        retry: Some(left.clone()),
                    }
                }
                (Record::Ended { outcome, .. }, _) => Self::Ended(outcome.clone()),
                (_, stage) => stage,
            };
        }
        stage
    }

    /// Whether a run that nobody is at work on must be rolled back now.
    pub fn is_rollback_due(&self, now: &BootTime) -> bool {
        match self {
            Self::Started => true,
            Self::Pending(pending) => now.has_passed(&pending.deadline),
            Self::RollingBack { retry, .. } => retry
                .as_ref()
                .is_none_or(|retry| now.has_passed(&retry.retry_at)),
            Self::Ended(_) => false,
        }
    }
}

/// Returns how long a rollback waits after so many tries.
pub(crate) fn retry_delay(tries: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(tries.saturating_sub(1))
        .unwrap_or(u32::MAX);
    FIRST_RETRY_DELAY
        .saturating_mul(doubled)
        .min(MAX_RETRY_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_grows_up_to_five_minutes() {
        let seconds = |tries| retry_delay(tries).as_secs();
        assert_eq!([1, 2, 3, 7, 60].map(seconds), [5, 10, 20, 300, 300]);
    }
}
