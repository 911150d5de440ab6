//! What changed in a clone, and whether that was to be expected.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::address::Address,
    plan::document::Plan,
    provider::{host::Host, registry::Registry},
    rehearsal::report::{Difference, Step},
};

/// The beginning of the name of a feature that tells one start of a service from another.
pub const START_PREFIX: &str = "start:";
/// The beginning of the value of a directory.
pub const DIRECTORY: &str = "a directory";

/// What a place looks like: one value for each thing that was looked at, by its name.
pub type Snapshot = BTreeMap<String, String>;

/// What a clone looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSnapshot {
    /// Its files.
    pub files: Snapshot,
    /// All else.
    pub features: Snapshot,
}

impl HostSnapshot {
    /// Names what changed until `after` although it was not planned: files in none of the steps, but while they were made or shortly after.
    pub fn unplanned(
        &self,
        after: &Self,
        plan: &Plan,
        own: &Own,
        steps: &[Step],
    ) -> Vec<Difference> {
        let addresses = plan.changes.iter().map(|planned| &planned.address);
        let names: BTreeSet<String> = addresses.map(ToString::to_string).collect();
        let is_expected = |name: &str| name.starts_with(START_PREFIX) || is_planned(name, &names);
        let mut found = compare_snapshots(&self.features, &after.features, is_expected);
        let in_steps: BTreeSet<&str> = steps
            .iter()
            .flat_map(|step| &step.files)
            .map(|moved| moved.name.as_str())
            .collect();
        let late = own.unplanned_changes(&self.files, &after.files).into_iter();
        found.extend(late.filter(|moved| !in_steps.contains(moved.name.as_str())));
        found
    }

    /// Names services that were started again until `after`.
    pub fn restarts(&self, after: &Self) -> Vec<String> {
        let starts = compare_snapshots(&self.features, &after.features, |name| {
            !name.starts_with(START_PREFIX)
        });
        starts
            .into_iter()
            .filter(|moved| moved.before.is_some() && moved.after.is_some())
            .map(|moved| moved.name[START_PREFIX.len()..].to_owned())
            .collect()
    }

    /// Names in what it is another one `after` a run that was rolled back. That services were started again is no difference.
    pub fn left(&self, after: &Self) -> Vec<Difference> {
        let mut left = compare_snapshots(&self.files, &after.files, |_| false);
        left.extend(compare_snapshots(&self.features, &after.features, |name| {
            name.starts_with(START_PREFIX)
        }));
        left
    }
}

/// The files that belong to addresses.
pub struct Own {
    patterns: Vec<String>,
    /// Whether a pattern has a path.
    fits: fn(&str, &str) -> bool,
}

impl Own {
    /// Finds those of some addresses. `fits` says whether a pattern has a path.
    pub fn of<'a, H: Host>(
        registry: &Registry<H>,
        addresses: impl IntoIterator<Item = &'a Address>,
        fits: fn(&str, &str) -> bool,
    ) -> Self {
        let patterns = addresses.into_iter().filter_map(|address| {
            let kind = registry.provider_of(address).ok()?;
            Some(kind.managed_paths(&address.name))
        });
        Self {
            patterns: patterns.flatten().collect(),
            fits,
        }
    }

    /// Names files that changed although they belong to none of the addresses.
    pub fn unplanned_changes(&self, before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
        let found = compare_snapshots(before, after, |name| self.has(name));
        let is_new_folder = |moved: &Difference| {
            let below = format!("{}/", moved.name);
            let after = moved.after.as_ref();
            after.is_some_and(|after| after.starts_with(DIRECTORY))
                && found.iter().any(|other| other.name.starts_with(&below))
        };
        let is_told: Vec<bool> = found.iter().map(|moved| !is_new_folder(moved)).collect();
        let found = found.into_iter().zip(is_told);
        found
            .filter_map(|(moved, is_told)| is_told.then_some(moved))
            .collect()
    }

    fn has(&self, name: &str) -> bool {
        let below = format!("{name}/");
        let mut patterns = self.patterns.iter();
        // The directories above a new file are made with it.
        patterns.any(|pattern| (self.fits)(pattern, name) || pattern.starts_with(&below))
    }
}

/// Compares two looks, without what is expected to change.
fn compare_snapshots(
    before: &Snapshot,
    after: &Snapshot,
    is_expected: impl Fn(&str) -> bool,
) -> Vec<Difference> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name) && !is_expected(name))
        .map(|name| Difference {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

/// Whether the name of a fact is that of something that is planned: `KIND:NAME`, with ` (WHERE)` behind it or not.
fn is_planned(fact: &str, planned: &BTreeSet<String>) -> bool {
    let name = fact.rsplit_once(" (").map_or(fact, |(name, _)| name);
    planned.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            change::{Change, Effects},
            state::State,
        },
        plan::document::{Diff, PlannedChange, Reason, StateDigests},
    };

    fn snapshot_of(features: &[(&str, &str)]) -> Snapshot {
        features
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn unplanned_changes_are_listed_with_both_values() {
        let before = snapshot_of(&[("sysctl:a", "0"), ("sysctl:b", "0"), ("same", "1")]);
        let after = snapshot_of(&[("sysctl:a", "1"), ("unit:x", "active"), ("same", "1")]);
        let planned = BTreeSet::from(["sysctl:a".to_owned()]);
        let found = compare_snapshots(&before, &after, |name| is_planned(name, &planned));
        let names: Vec<_> = found.iter().map(|moved| moved.name.as_str()).collect();
        assert_eq!(names, ["sysctl:b", "unit:x"]);
        assert_eq!(found[0].before.as_deref(), Some("0"));
        assert_eq!(found[0].after, None);
        assert_eq!(found[1].before, None);
    }

    #[test]
    fn is_planned_ignores_the_table_variant() {
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

    fn own(patterns: &[&str]) -> Own {
        Own {
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            fits: |pattern, path| pattern == path,
        }
    }

    fn names(moved: &[Difference]) -> Vec<&str> {
        moved.iter().map(|moved| moved.name.as_str()).collect()
    }

    #[test]
    fn files_of_others_are_named_without_folders_that_hold_them() {
        let before = snapshot_of(&[("/etc/old", "a file, 1")]);
        let after = snapshot_of(&[
            ("/etc/a", "a directory, 0755"),
            ("/etc/a/own", "a file, 1"),
            ("/etc/b", "a directory, 0755"),
            ("/etc/b/other", "a file, 1"),
            ("/etc/c", "a directory, 0755"),
            ("/etc/old", "a file, 2"),
        ]);
        let found = own(&["/etc/a/own"]).unplanned_changes(&before, &after);
        assert_eq!(names(&found), ["/etc/b/other", "/etc/c", "/etc/old"]);
    }

    #[test]
    fn unplanned_is_what_neither_the_plan_nor_a_step_has_named() {
        let before = HostSnapshot::default();
        let after = HostSnapshot {
            files: snapshot_of(&[("/own", "1"), ("/in-a-step", "1"), ("/late", "1")]),
            features: snapshot_of(&[
                ("sysctl:a (running)", "1"),
                ("sysctl:b", "1"),
                ("start:x.service", "1"),
            ]),
        };
        let mut comparison = Diff::default();
        comparison.changes.push(PlannedChange {
            address: Address::new("sysctl", "a"),
            change: Change::Create {
                after: State::default(),
            },
            reason: Reason::Undo { run: 1 },
            cause: None,
            effects: Effects::default(),
        });
        let plan = Plan::new("host".to_owned(), vec![], comparison, StateDigests::new());
        let step = Step {
            files: compare_snapshots(
                &Snapshot::new(),
                &snapshot_of(&[("/in-a-step", "1")]),
                |_| false,
            ),
            ..Step::default()
        };
        let found = before.unplanned(&after, &plan, &own(&["/own"]), &[step]);
        assert_eq!(names(&found), ["sysctl:b", "/late"]);
    }

    #[test]
    fn starts_are_restarts_of_what_ran_before_and_nothing_that_is_left() {
        let before = HostSnapshot {
            files: snapshot_of(&[("/a", "1")]),
            features: snapshot_of(&[("start:a.service", "1"), ("start:gone.service", "1")]),
        };
        let after = HostSnapshot {
            files: snapshot_of(&[("/a", "2")]),
            features: snapshot_of(&[
                ("start:a.service", "2"),
                ("start:new.service", "1"),
                ("unit:new.service", "active"),
            ]),
        };
        assert_eq!(before.restarts(&after), ["a.service"]);
        assert_eq!(names(&before.left(&after)), ["/a", "unit:new.service"]);
        assert!(before.left(&before).is_empty());
    }
}
