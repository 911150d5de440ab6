//! Some rules are in one back end of iptables and some in the other.

use std::collections::BTreeMap;

use super::forward_refused::tables;
use crate::doctor::context::{CheckResult, DoctorContext, program_name};
use crate::{
    doctor::finding::FindingRule,
    netfilter::{Backend, Family, SavedTables, known_writers},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "rules-split",
    fact: "both back ends of iptables contain rules",
    why: "The kernel evaluates both, and a packet must pass both. A listing of one back end does not show why the other drops a packet. Programs that check for their own rules miss them and add them again.",
    criterion: "Rules for IPv4 in the back end nft as well as in the back end legacy, without those that MicroK8s adds to both on purpose.",
    by_hand: &[
        "choose one with `update-alternatives --config iptables`, restart the programs that add the rules of the other, and clear that: `iptables-legacy -F`",
    ],
    spec: &[],
};
/// Whose rules nobody knows are.
const UNKNOWN_OWNER: &str = "somebody";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let tables = tables(context).await?;
    let mut evidence = vec![];
    for (column, saved) in tables
        .readable()
        .filter(|(column, _)| column.family == Family::Ipv4)
    {
        let owners = count_by_owner(saved);
        if !owners.is_empty() {
            let owners = owners
                .iter()
                .map(|(whose, count)| format!("{count} of {whose}"));
            let owners = owners.collect::<Vec<_>>().join(", ");
            evidence.push((
                column.backend,
                format!("{}-save: {owners}", program_name(column)),
            ));
        }
    }
    let has = |backend| evidence.iter().any(|(there, _)| *there == backend);
    if !(has(Backend::Nft) && has(Backend::Legacy)) {
        return Ok(None);
    }
    Ok(Some(RULE.found(
        evidence.into_iter().map(|(_, text)| text).collect(),
    )))
}

/// Counts the rules of a column by who made them. Those that MicroK8s puts into both back ends on purpose say nothing.
fn count_by_owner(saved: &SavedTables) -> BTreeMap<&'static str, usize> {
    let mut owners = BTreeMap::new();
    for (name, chain) in saved.tables.values().flatten() {
        for rule in chain.rules.iter().filter(|rule| !rule.is_of_microk8s()) {
            let whose = known_writers::of_rule(saved, name, rule).unwrap_or(UNKNOWN_OWNER);
            *owners.entry(whose).or_default() += 1;
        }
    }
    owners
}
