//! The stage of a run, derived from its journal.

use std::time::Duration;

use crate::{
    history::journal::{Left, Outcome, Pending, Reason, Record},
    model::boot_time::Moment,
};

/// How long a rollback that left something waits until it is tried again, for the first time. Then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// How long it waits at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What is to become of a run, by its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its steps are under way, or were when its process was killed.
    Begun,
    /// It waits for its confirmation.
    Pending(Pending),
    /// It goes back, or was about to when its process was killed.
    GoingBack {
        /// Why.
        cause: String,
        /// What made it do so.
        reason: Reason,
        /// What the newest try has left, if there was one.
        left: Option<Left>,
    },
    /// It has ended.
    Ended(Outcome),
}

impl Stage {
    /// Reads it from a journal.
    pub fn of(records: &[Record]) -> Self {
        let mut stage = Self::Begun;
        for record in records {
            stage = match (record, stage) {
                (Record::Pending(pending), _) => Self::Pending(pending.clone()),
                (Record::RollingBack { cause, reason }, _) => Self::GoingBack {
                    cause: cause.clone(),
                    reason: *reason,
                    left: None,
                },
                (Record::Left(left), Self::GoingBack { cause, reason, .. }) => Self::GoingBack {
                    cause,
                    reason,
                    left: Some(left.clone()),
                },
                (Record::Ended { outcome, .. }, _) => Self::Ended(outcome.clone()),
                (_, stage) => stage,
            };
        }
        stage
    }

    /// Whether a run that nobody is at work on must go back now.
    pub fn is_due(&self, now: &Moment) -> bool {
        match self {
            Self::Begun => true,
            Self::Pending(pending) => now.is_past(&pending.deadline),
            Self::GoingBack { left, .. } => {
                left.as_ref().is_none_or(|left| now.is_past(&left.again))
            }
            Self::Ended(_) => false,
        }
    }
}

/// Returns how long a rollback waits after so many tries.
pub(crate) fn pause(tries: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(tries.saturating_sub(1))
        .unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_waits_longer_each_time_but_never_very_long() {
        let seconds = |tries| pause(tries).as_secs();
        assert_eq!([1, 2, 3, 7, 60].map(seconds), [5, 10, 20, 300, 300]);
    }
}
