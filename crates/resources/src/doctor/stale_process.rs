//! The arguments of MicroK8s were changed, and the running processes do not have them.

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::restart,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "stale-process",
    fact: "a service of MicroK8s runs with outdated arguments",
    why: "The files look right, but have no effect until the service restarts. At the next reboot the behaviour changes unexpectedly.",
    criterion: "The arguments that each service of MicroK8s was started with, against its argument files.",
    by_hand: &["systemctl restart UNIT"],
    spec: &["restart \"GROUP\""],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    if !context.host.has_systemd()? {
        return Ok(None);
    }
    let due = restart::outdated_units(context.host, layout).await?;
    if due.is_empty() {
        return Ok(None);
    }
    let units: Vec<_> = due.values().flatten().collect();
    let groups: Vec<_> = due.keys().collect();
    let evidence = units.iter().map(|unit| {
        format!("{unit} was started before its files in /var/snap/microk8s/current/args changed")
    });
    Ok(Some(
        RULE.found(evidence.collect())
            .substitute("UNIT", &units)
            .substitute("GROUP", &groups),
    ))
}
