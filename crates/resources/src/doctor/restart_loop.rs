//! A service exits and is restarted repeatedly.

use crate::doctor::{
    context::{CheckResult, DoctorContext},
    finding::FindingRule,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "restart-loop",
    fact: "a service keeps failing",
    why: "The service does not do its work, and each start costs CPU time and fills the journal.",
    criterion: "Services that systemd has restarted automatically three times or more, and that are down or about to be restarted.",
    by_hand: &["journalctl --unit UNIT --lines 50   (shows why)"],
    spec: &[],
};
/// After so many starts by itself it is a loop.
const MIN_RESTARTS: u32 = 3;

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    if !host.has_systemd()? {
        return Ok(None);
    }
    let mut evidence = vec![];
    let mut units = vec![];
    for unit in host
        .list_units_in(&["activating", "failed"], "*.service")
        .await?
    {
        let status = host.unit(&unit).await?;
        let has_given_up = status.active_state == "failed";
        if status.restarts >= MIN_RESTARTS
            && (has_given_up || status.sub_state.starts_with("auto-restart"))
        {
            evidence.push(format!(
                "systemd: {unit} is {} ({}) after {} restarts; it exited with {} ({})",
                status.active_state,
                status.sub_state,
                status.restarts,
                status.exit_status,
                status.result
            ));
            units.push(unit);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(RULE.found(evidence).substitute("UNIT", &units)))
}
