//! A service ends and is started again, over and over.

use crate::doctor::{
    context::{Look, Patient},
    finding::Ailment,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "restart-loop",
    fact: "a service does not stay up",
    why: "What it should do is not done, and each start costs processor time and fills the journal.",
    looks_at: "Services that systemd has started again by itself three times or more, and that are down, or about to be started \
               once more.",
    by_hand: &["journalctl --unit UNIT --lines 50   (says why)"],
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
                "systemd: {unit} is {} ({}), and was started again {} times; it ended with {} ({})",
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
