//! A service ends and is started again, over and over.

use stead_engine::finding::Finding;

use super::{Look, Patient};

pub(super) const NAME: &str = "restart-loop";
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
    Ok(Some(Finding {
        name: NAME,
        fact: "a service does not stay up".to_owned(),
        evidence,
        why: "What it should do is not done, and each start costs processor time and fills the journal.".to_owned(),
        by_hand: units.iter().map(|unit| format!("journalctl --unit {unit} --lines 50   (says why)")).collect(),
        spec: vec![],
    }))
}
