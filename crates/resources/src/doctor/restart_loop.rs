//! A service exits and is restarted repeatedly.

use crate::doctor::{
    context::{Look, Patient},
    finding::Ailment,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "restart-loop",
    fact: "a service keeps failing",
    why: "The service does not do its work, and each start costs CPU time and fills the journal.",
    looks_at: "Services that systemd has restarted automatically three times or more, and that are down or about to be restarted.",
    by_hand: &["journalctl --unit UNIT --lines 50   (shows why)"],
    spec: &[],
};
/// After so many starts by itself it is a loop.
const LOOP: u32 = 3;

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let host = patient.host;
    if !host.has_systemd()? {
        return Ok(None);
    }
    let mut evidence = vec![];
    let mut units = vec![];
    for unit in host
        .units_in(&["activating", "failed"], "*.service")
        .await?
    {
        let status = host.unit(&unit).await?;
        let has_given_up = status.active == "failed";
        if status.restarts >= LOOP && (has_given_up || status.sub.starts_with("auto-restart")) {
            evidence.push(format!(
                "systemd: {unit} is {} ({}) after {} restarts; it exited with {} ({})",
                status.active, status.sub, status.restarts, status.exit, status.result
            ));
            units.push(unit);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(evidence).with("UNIT", &units)))
}
