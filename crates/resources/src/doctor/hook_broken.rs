//! A hook of stead is incomplete or missing.

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::FindingRule,
    },
    safety::hook_files,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "hook-broken",
    fact: "a hook that restores what reboots and refreshes overwrite is broken",
    why: "It was applied on this host. Without it the rules of iptables are lost at the next reboot, and the arguments of MicroK8s at the next refresh.",
    criterion: "The units and files of each hook that the last runs of stead applied here.",
    by_hand: &["apply your spec again: `stead apply`"],
    spec: &["hook \"HOOK\""],
};

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(hooks) = context.hooks else {
        return Err(CheckError(
            "only root can read what was applied here".to_owned(),
        ));
    };
    let mut evidence = vec![];
    let mut broken = vec![];
    for name in hooks {
        let faults = hook_files::missing_files(context.host, name)?;
        if !faults.is_empty() {
            evidence.extend(faults);
            broken.push(name);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(RULE.found(evidence).substitute("HOOK", &broken)))
}
