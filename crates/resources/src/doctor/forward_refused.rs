//! A rule that drops everything precedes those that accept the packets of pods.

use std::sync::Arc;

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext, program_name},
        finding::{Finding, FindingRule},
    },
    netfilter::{SavedRule, Tables},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "forward-refused",
    fact: "a rule rejects the packets of pods before another accepts them",
    why: "Rules are evaluated in order. Packets that this rule rejects never reach the rules that MicroK8s adds for its pods, whatever the policy is. /etc/iptables or the files of a firewall may add the rule again.",
    criterion: "Where MicroK8s runs: a rule in FORWARD that drops or rejects every packet comes before the rules that MicroK8s adds for its pods.",
    by_hand: &["PROGRAM -D FORWARD PLACE"],
    spec: &[],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let tables = tables(context).await?;
    let mut evidence = vec![];
    let mut by_hand = vec![];
    for (column, saved) in tables.readable() {
        let Some(chain) = saved.chain("filter", "FORWARD") else {
            continue;
        };
        let accepted = chain.rules.iter().position(SavedRule::is_of_microk8s);
        let refused = chain.rules.iter().position(|rule| refuses_all(&rule.text));
        if let (Some(refused), Some(accepted)) = (refused, accepted)
            && refused < accepted
        {
            let program = program_name(column);
            let text = &chain.rules[refused].text;
            let place = refused + 1;
            evidence.push(format!(
                "{program} -S FORWARD: rule {place} is `{text}`, before the rules that accept pods, from rule {} on",
                accepted + 1
            ));
            let command = RULE.by_hand[0].replace("PROGRAM", program);
            by_hand.push(command.replace("PLACE", &place.to_string()));
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(Finding {
        by_hand,
        ..RULE.found(evidence)
    }))
}

/// Reads the tables, if this user may.
pub(super) async fn tables(context: &DoctorContext<'_>) -> Result<Arc<Tables>, CheckError> {
    let tables = Tables::read(context.host).await?;
    if tables.needs_root() {
        return Err(CheckError(
            "only root can read the rules of iptables".to_owned(),
        ));
    }
    Ok(tables)
}

/// Whether a rule refuses every packet.
fn refuses_all(text: &str) -> bool {
    let mut words = text.split(' ');
    let is_jump = words.next() == Some("-j");
    is_jump && matches!(words.next(), Some("DROP" | "REJECT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_all_requires_a_rule_without_match() {
        for text in ["-j DROP", "-j REJECT --reject-with icmp-host-prohibited"] {
            assert!(refuses_all(text), "{text}");
        }
        for text in [
            "-s 10.0.0.0/8 -j DROP",
            "-j ACCEPT",
            "-m conntrack --ctstate INVALID -j DROP",
            "-g DROP",
        ] {
            assert!(!refuses_all(text), "{text}");
        }
    }
}
