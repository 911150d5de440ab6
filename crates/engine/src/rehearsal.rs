//! A spec that is tried on a clone of the host: what of it can be tried there, and what came of it. Inert data; nobody prints here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    history::journal::Outcome,
    model::address::Address,
    plan::{
        dependencies::Needs,
        document::{Because, Plan, PlanError, Wanted},
        planner::plan_wanted,
    },
    provider::{host::Host, registry::Registry},
};

/// What a place looks like: one value for each thing that was looked at, by its name.
pub type Features = BTreeMap<String, String>;

/// Something of a spec that was not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// What.
    pub address: Address,
    /// Why.
    pub why: String,
}

/// What of a spec can be tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Possible {
    /// The plan of it.
    pub plan: Plan,
    /// What cannot be had here, each with the reason.
    pub refused: Vec<LeftOut>,
    /// What a clone cannot do, and what needs something that is left out; each with the reason.
    pub left_out: Vec<LeftOut>,
}

/// Plans what can be tried on a clone, with an init or without one. What cannot is left out, with all that needs it.
///
/// # Errors
/// If the host cannot be read.
pub async fn plan_rehearsal<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    mut wanted: Vec<Wanted>,
    has_init: bool,
) -> Result<Possible, PlanError> {
    let mut refused: Vec<LeftOut> = vec![];
    let mut left_out: Vec<LeftOut> = vec![];
    if !has_init {
        let needs_init = |wanted: &&Wanted| {
            let kind = registry.of(&wanted.address);
            kind.is_ok_and(|kind| kind.schema().lifecycle.needs_init)
        };
        let without_init = wanted.iter().filter(needs_init).map(|wanted| LeftOut {
            address: wanted.address.clone(),
            why: "the clone has no init".to_owned(),
        });
        left_out.extend(without_init);
        let names = left_out.iter().map(|left| left.address.clone()).collect();
        left_out.extend(followers(&wanted, &names));
        wanted = without(wanted, &left_out);
    }
    loop {
        let plan = match plan_wanted(registry, reader, host, wanted.clone()).await {
            Ok(plan) => Some(plan),
            Err(PlanError::Problems(problems)) => {
                refused.extend(problems.into_iter().map(|(address, problem)| LeftOut {
                    address,
                    why: problem.to_string(),
                }));
                None
            }
            Err(error) => return Err(error),
        };
        let beyond = plan
            .iter()
            .flat_map(|plan| &plan.changes)
            .filter_map(|planned| {
                let kind = registry.of(&planned.address).ok()?;
                let kind = kind.footprint()?;
                let why = kind.blocks_rehearsal(&planned.address.name, &planned.change)?;
                Some(LeftOut {
                    address: planned.address.clone(),
                    why: why.to_owned(),
                })
            });
        let beyond: Vec<_> = beyond.collect();
        if let (Some(plan), true) = (plan, beyond.is_empty()) {
            return Ok(Possible {
                plan,
                refused,
                left_out,
            });
        }
        left_out.extend(beyond);
        let all = refused.iter().chain(&left_out);
        let names: BTreeSet<Address> = all.map(|left| left.address.clone()).collect();
        left_out.extend(followers(&wanted, &names));
        wanted = without(wanted, &[&refused[..], &left_out[..]].concat());
    }
}

/// Returns what is wanted without what is left out.
pub fn without(mut wanted: Vec<Wanted>, left_out: &[LeftOut]) -> Vec<Wanted> {
    let is_left = |address: &Address| left_out.iter().any(|left| left.address == *address);
    wanted.retain(|wanted| !is_left(&wanted.address));
    wanted
}

/// Names what needs something that is left out, or comes only with it.
fn followers(wanted: &[Wanted], names: &BTreeSet<Address>) -> Vec<LeftOut> {
    let needs = Needs::of(wanted);
    let follower = |wanted: &Wanted| {
        if names.contains(&wanted.address) {
            return None;
        }
        let brought = match &wanted.because {
            Because::Implied { by, .. } => names.get(by),
            _ => None,
        };
        let needed = names
            .iter()
            .find(|name| needs.is_any(&wanted.address, |need| need == *name));
        let name = brought.or(needed)?;
        Some(LeftOut {
            address: wanted.address.clone(),
            why: format!("it needs {name}"),
        })
    };
    wanted.iter().filter_map(follower).collect()
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
    pub refused: Vec<LeftOut>,
    /// What was not tried, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// The steps of the run.
    pub steps: Vec<Step>,
    /// How the run ended; `None` if there was nothing to change.
    pub outcome: Option<Outcome>,
    /// What a second plan still wanted to change, each with what it is.
    pub pending: Vec<LeftOut>,
    /// What changed without being in the plan.
    pub unplanned: Vec<Moved>,
    /// Services that were started again.
    pub restarts: Vec<String>,
    /// What came of a reboot, if one was asked for and the run was done.
    pub reboot: Option<Reboot>,
    /// What came of a kill in each step, if that was asked for.
    pub faults: Vec<Fault>,
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
    pub files: Vec<Moved>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
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
    pub lost: Vec<LeftOut>,
    /// What was not as described at first, and came back.
    pub came_back: Vec<Address>,
}

/// What came of a kill in one step, and of `stead recover` after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// What the step changes.
    pub addresses: Vec<Address>,
    /// How `stead recover` ended; `None` if there was nothing to recover.
    pub outcome: Option<Outcome>,
    /// In what the clone differs from its start.
    pub left: Vec<Moved>,
    /// Why nothing can be said, if so.
    pub fault: Option<String>,
}

impl Fault {
    /// Whether the clone was as before.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.fault.is_none()
    }
}

impl Rehearsal {
    /// Whether the run was done, or there was nothing to do.
    pub fn is_applied(&self) -> bool {
        matches!(self.outcome, None | Some(Outcome::Done { .. }))
    }

    /// Whether all that was asked for holds: what was left out says nothing, what this host cannot have says no.
    pub fn holds(&self) -> bool {
        let survives = self
            .reboot
            .as_ref()
            .is_none_or(|reboot| reboot.lost.is_empty());
        self.is_applied()
            && survives
            && self.refused.is_empty()
            && self.pending.is_empty()
            && self.faults.iter().all(Fault::is_clean)
    }
}

/// Compares two looks, without what is expected to change.
pub fn moved(
    before: &Features,
    after: &Features,
    is_expected: impl Fn(&str) -> bool,
) -> Vec<Moved> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name) && !is_expected(name))
        .map(|name| Moved {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

/// Whether the name of a fact is that of something that is planned: `KIND:NAME`, with ` (WHERE)` behind it or not.
pub fn is_planned(fact: &str, planned: &BTreeSet<String>) -> bool {
    let name = fact.rsplit_once(" (").map_or(fact, |(name, _)| name);
    planned.contains(name)
}

/// Milliseconds, as a report has them.
pub fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(features: &[(&str, &str)]) -> Features {
        features
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_changed_is_named_with_both_values_unless_it_was_planned() {
        let before = features(&[("sysctl:a", "0"), ("sysctl:b", "0"), ("same", "1")]);
        let after = features(&[("sysctl:a", "1"), ("unit:x", "active"), ("same", "1")]);
        let planned = BTreeSet::from(["sysctl:a".to_owned()]);
        let found = moved(&before, &after, |name| is_planned(name, &planned));
        let names: Vec<_> = found.iter().map(|moved| moved.name.as_str()).collect();
        assert_eq!(names, ["sysctl:b", "unit:x"]);
        assert_eq!(found[0].before.as_deref(), Some("0"));
        assert_eq!(found[0].after, None);
        assert_eq!(found[1].before, None);
    }

    #[test]
    fn a_fact_of_a_column_belongs_to_its_address() {
        let planned = BTreeSet::from(["iptables-policy:filter/FORWARD".to_owned()]);
        assert!(is_planned(
            "iptables-policy:filter/FORWARD (ipv4-nft)",
            &planned
        ));
        assert!(!is_planned(
            "iptables-policy:filter/INPUT (ipv4-nft)",
            &planned
        ));
    }

    #[test]
    fn it_holds_only_if_everything_does() {
        let left = LeftOut {
            address: Address::new("unit", "a.service"),
            why: "it failed".to_owned(),
        };
        let clean = Fault {
            addresses: vec![],
            outcome: None,
            left: vec![],
            fault: None,
        };
        let good = Rehearsal {
            left_out: vec![left.clone()],
            reboot: Some(Reboot::default()),
            faults: vec![clean.clone()],
            outcome: Some(Outcome::Done { run: 1 }),
            ..Rehearsal::default()
        };
        assert!(good.holds());
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
                faults: vec![Fault {
                    fault: Some("?".to_owned()),
                    ..clean
                }],
                ..good.clone()
            },
        ];
        for bad in bad {
            assert!(!bad.holds(), "{bad:?}");
        }
    }
}
