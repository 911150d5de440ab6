//! Dependencies among the desired resources, and the order that follows from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::address::Address,
    plan::document::{DesiredResource, PlannedChange},
};

/// Keeps, in its order, what is one of `moved` or needs one of them: what a look at just these has to take in.
pub fn affected(wanted: &[DesiredResource], changed: &BTreeSet<Address>) -> Vec<DesiredResource> {
    let needs = Dependencies::new(wanted);
    let is_affected = |wanted: &&DesiredResource| {
        changed.contains(&wanted.address)
            || needs.depends_on_any(&wanted.address, |need| changed.contains(need))
    };
    wanted.iter().filter(is_affected).cloned().collect()
}

/// What needs what, however far away.
#[derive(Debug)]
pub(crate) struct Dependencies<'a>(BTreeMap<&'a Address, &'a [Address]>);

impl<'a> Dependencies<'a> {
    pub(crate) fn new(wanted: &'a [DesiredResource]) -> Self {
        Self(
            wanted
                .iter()
                .map(|wanted| (&wanted.address, wanted.needs.as_slice()))
                .collect(),
        )
    }

    /// Whether `address` needs anything that is so, directly or not. A spec has no cycles.
    pub(crate) fn depends_on_any(
        &self,
        address: &Address,
        is_so: impl Fn(&Address) -> bool,
    ) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![address];
        while let Some(address) = next.pop() {
            for need in self.0.get(address).copied().unwrap_or_default() {
                if is_so(need) {
                    return true;
                }
                if seen.insert(need) {
                    next.push(need);
                }
            }
        }
        false
    }

    /// Moves what cannot be undone behind everything else, with what has to come after it; otherwise the order stays.
    pub(crate) fn with_irreversible_last(&self, changes: Vec<PlannedChange>) -> Vec<PlannedChange> {
        let mut late: Vec<PlannedChange> = vec![];
        let mut early = vec![];
        for change in changes {
            let is_absent = |planned: &PlannedChange| planned.change.after().is_none();
            let comes_after = |other: &PlannedChange| {
                let (first, then) = if is_absent(&change) && is_absent(other) {
                    (&change, other)
                } else {
                    (other, &change)
                };
                self.depends_on_any(&then.address, |need| *need == first.address)
            };
            if change.effects.irreversible.is_some() || late.iter().any(comes_after) {
                late.push(change);
            } else {
                early.push(change);
            }
        }
        early.extend(late);
        early
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{model::state::Desired, plan::document::Reason};

    fn resource(name: &str, needs: &[&str]) -> DesiredResource {
        let address = |name: &&str| Address::new("leaf", *name);
        DesiredResource {
            address: address(&name),
            desired: Desired::Absent,
            needs: needs.iter().map(address).collect(),
            reason: Reason::Spec {
                file: Path::new("host.kdl").into(),
                line: 1,
            },
        }
    }

    #[test]
    fn affected_includes_only_dependents_of_changed_resources() {
        let all = [
            resource("chain", &[]),
            resource("other", &[]),
            resource("rule", &["chain"]),
            resource("far", &["rule", "other"]),
        ];
        let names = |moved: &str| -> Vec<_> {
            let moved = BTreeSet::from([Address::new("leaf", moved)]);
            let found = affected(&all, &moved).into_iter();
            found.map(|wanted| wanted.address.name).collect()
        };
        assert_eq!(names("chain"), ["chain", "rule", "far"]);
        assert_eq!(names("rule"), ["rule", "far"]);
        assert_eq!(names("far"), ["far"]);
        assert!(names("nothing").is_empty());
    }
}
