//! When what was applied has come back after a reboot, and when it is lost.

use std::time::{Duration, Instant};

use crate::{
    model::address::Address,
    rehearsal::report::{Reboot, Skipped, to_millis},
};

/// How long after a reboot what was applied may take to come back.
const RESTORE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long it must stay so: what starts late at boot may still set something back.
const STEADY_PERIOD: Duration = Duration::from_secs(5);

/// What is seen to come back after a reboot.
pub struct Returning {
    begin: Instant,
    up_ms: u64,
    settled: Option<Instant>,
    came_back: Vec<Address>,
}

impl Returning {
    /// Begins when the clone is up again, which took it so long.
    pub fn begin(took: Duration, now: Instant) -> Self {
        Self {
            begin: now,
            up_ms: to_millis(took),
            settled: None,
            came_back: vec![],
        }
    }

    /// Whether there is no more time for anything to come back.
    pub fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.begin) > RESTORE_TIMEOUT
    }

    /// Notes what is not as described now. Returns what came of the reboot, once that is known.
    pub fn note(&mut self, pending: Vec<Skipped>, now: Instant) -> Option<Reboot> {
        if pending.is_empty() {
            let since = *self.settled.get_or_insert(now);
            let is_steady = now.duration_since(since) >= STEADY_PERIOD;
            return is_steady.then(|| self.reboot(Some(since), vec![]));
        }
        self.settled = None;
        for left in &pending {
            if !self.came_back.contains(&left.address) {
                self.came_back.push(left.address.clone());
            }
        }
        self.is_over(now).then(|| self.reboot(None, pending))
    }

    fn reboot(&mut self, settled: Option<Instant>, lost: Vec<Skipped>) -> Reboot {
        let mut restored = std::mem::take(&mut self.came_back);
        restored.retain(|address| !lost.iter().any(|left| left.address == *address));
        Reboot {
            up_ms: self.up_ms,
            settled_ms: settled.map(|since| to_millis(since.duration_since(self.begin))),
            lost,
            restored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(names: &[&str]) -> Vec<Skipped> {
        let left = names.iter().map(|name| Skipped {
            address: Address::new("unit", *name),
            why: "does not exist".to_owned(),
        });
        left.collect()
    }

    fn addresses(names: &[&str]) -> Vec<Address> {
        let left = pending(names).into_iter();
        left.map(|left| left.address).collect()
    }

    /// Notes what is pending at so many seconds after the clone was up. Returns what came of it, which is known with the last of them only.
    fn check(looks: &[(u64, &[&str])]) -> Reboot {
        let begin = Instant::now();
        let mut returning = Returning::begin(Duration::from_secs(3), begin);
        let (last, before) = looks.split_last().unwrap();
        let mut note = |(seconds, names): &(u64, &[&str])| {
            returning.note(pending(names), begin + Duration::from_secs(*seconds))
        };
        for look in before {
            assert_eq!(note(look), None, "{look:?}");
        }
        note(last).unwrap()
    }

    #[test]
    fn reboot_is_settled_since_the_first_of_five_seconds_without_a_difference() {
        let reboot = check(&[
            (1, &["a", "b"]),
            (2, &[]),
            (4, &["b", "c"]),
            (6, &[]),
            (10, &[]),
            (11, &[]),
        ]);
        let expected = Reboot {
            up_ms: 3000,
            settled_ms: Some(6000),
            lost: vec![],
            restored: addresses(&["a", "b", "c"]),
        };
        assert_eq!(reboot, expected);
    }

    #[test]
    fn what_is_pending_after_two_minutes_is_lost_and_did_not_come_back() {
        let reboot = check(&[(1, &["a", "b"]), (120, &["b"]), (121, &["b"])]);
        let expected = Reboot {
            up_ms: 3000,
            settled_ms: None,
            lost: pending(&["b"]),
            restored: addresses(&["a"]),
        };
        assert_eq!(reboot, expected);
    }
}
