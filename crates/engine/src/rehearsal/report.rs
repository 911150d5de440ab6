//! What came of trying a spec on a clone. Inert data; nobody prints here.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{history::journal::Outcome, model::address::Address};

/// Something of a spec that was not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LeftOut")]
pub struct Skipped {
    /// What.
    pub address: Address,
    /// Why.
    pub why: String,
}

/// What came of trying a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rehearsal {
    /// Milliseconds from the start until the clone was up.
    pub up_ms: u64,
    /// Bytes of memory that the clone had when it was up, its services among them; `None` if that cannot be measured here.
    pub memory: Option<u64>,
    /// In what the clone differs from the host.
    pub differences: Vec<String>,
    /// What this host cannot have, each with the reason. Then the spec does not hold.
    pub refused: Vec<Skipped>,
    /// What was not tried, each with the reason.
    pub left_out: Vec<Skipped>,
    /// The steps of the run.
    pub steps: Vec<Step>,
    /// How the run ended; `None` if there was nothing to change.
    pub outcome: Option<Outcome>,
    /// What a second plan still wanted to change, each with what it is.
    pub pending: Vec<Skipped>,
    /// What changed without being in the plan.
    pub unplanned: Vec<Difference>,
    /// Services that were started again.
    pub restarts: Vec<String>,
    /// What came of a reboot, if one was asked for and the run was done.
    pub reboot: Option<Reboot>,
    /// What came of a kill in each step, if that was asked for.
    #[serde(rename = "faults")]
    pub kill_tests: Vec<KillTest>,
}

/// One step of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What it changed.
    pub addresses: Vec<Address>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The most memory that the clone had during it, in bytes; `None` if that cannot be measured here.
    pub memory: Option<u64>,
    /// Whether it ended well.
    pub is_done: bool,
    /// Files that changed in it although they are not its own.
    pub files: Vec<Difference>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Moved")]
pub struct Difference {
    /// What.
    pub name: String,
    /// What it was; `None` if it was not there.
    pub before: Option<String>,
    /// What it is; `None` if it is not there any more.
    pub after: Option<String>,
}

/// What came of a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reboot {
    /// Milliseconds until the clone was up again.
    pub up_ms: u64,
    /// Milliseconds after that until it was as described; `None` if it never was.
    pub settled_ms: Option<u64>,
    /// What was not as described in the end.
    pub lost: Vec<Skipped>,
    /// What was not as described at first, and came back.
    #[serde(rename = "came_back")]
    pub restored: Vec<Address>,
}

/// What came of a kill in one step, and of `stead recover` after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Fault")]
pub struct KillTest {
    /// What the step changes.
    pub addresses: Vec<Address>,
    /// How `stead recover` ended; `None` if there was nothing to recover.
    pub outcome: Option<Outcome>,
    /// In what the clone differs from its start.
    #[serde(rename = "left")]
    pub differences: Vec<Difference>,
    /// Why nothing can be said, if so.
    #[serde(rename = "fault")]
    pub error: Option<String>,
}

impl KillTest {
    /// Whether the clone was as before.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.error.is_none()
    }
}

impl Rehearsal {
    /// Whether the run was done, or there was nothing to do.
    pub fn is_applied(&self) -> bool {
        matches!(self.outcome, None | Some(Outcome::Done { .. }))
    }

    /// Returns all that is not tried.
    pub fn untried(&self) -> Vec<Skipped> {
        self.refused.iter().chain(&self.left_out).cloned().collect()
    }

    /// Whether all that was asked for holds: what was left out says nothing, what this host cannot have says no.
    pub fn succeeded(&self) -> bool {
        let survives = self
            .reboot
            .as_ref()
            .is_none_or(|reboot| reboot.lost.is_empty());
        self.is_applied()
            && survives
            && self.refused.is_empty()
            && self.pending.is_empty()
            && self.kill_tests.iter().all(KillTest::is_clean)
    }
}

/// Milliseconds, as a report has them.
pub fn to_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rehearsal_succeeds_only_if_every_part_does() {
        let left = Skipped {
            address: Address::new("unit", "a.service"),
            why: "it failed".to_owned(),
        };
        let clean = KillTest {
            addresses: vec![],
            outcome: None,
            differences: vec![],
            error: None,
        };
        let good = Rehearsal {
            left_out: vec![left.clone()],
            reboot: Some(Reboot::default()),
            kill_tests: vec![clean.clone()],
            outcome: Some(Outcome::Done { run: 1 }),
            ..Rehearsal::default()
        };
        assert!(good.succeeded());
        let bad = [
            Rehearsal {
                refused: vec![left.clone()],
                ..good.clone()
            },
            Rehearsal {
                pending: vec![left.clone()],
                ..good.clone()
            },
            Rehearsal {
                outcome: Some(Outcome::Stale { addresses: vec![] }),
                ..good.clone()
            },
            Rehearsal {
                reboot: Some(Reboot {
                    lost: vec![left],
                    ..Reboot::default()
                }),
                ..good.clone()
            },
            Rehearsal {
                kill_tests: vec![KillTest {
                    error: Some("?".to_owned()),
                    ..clean
                }],
                ..good.clone()
            },
        ];
        for bad in bad {
            assert!(!bad.succeeded(), "{bad:?}");
        }
    }
}
