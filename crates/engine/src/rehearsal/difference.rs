//! What changed in a clone, and whether that was to be expected.

use std::collections::{BTreeMap, BTreeSet};

use crate::rehearsal::report::Moved;

/// What a place looks like: one value for each thing that was looked at, by its name.
pub type Features = BTreeMap<String, String>;

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
}
