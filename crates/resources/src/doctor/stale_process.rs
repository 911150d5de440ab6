//! The arguments of MicroK8s were changed, and what runs does not have them.

use stead_engine::finding::Finding;

use super::{Look, Patient};
use crate::restart;

pub(super) const NAME: &str = "stale-process";

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    if !patient.host.has_systemd()? {
        return Ok(None);
    }
    let due = restart::due(patient.host, layout).await?;
    if due.is_empty() {
        return Ok(None);
    }
    let units = due.values().flatten();
    Ok(Some(Finding {
        name: NAME,
        fact: "a service of MicroK8s runs with other arguments than its files have".to_owned(),
        evidence: units.clone().map(|unit| format!("{unit} was started before its files in /var/snap/microk8s/current/args changed")).collect(),
        why: "The files look right, and nothing works as they say until the service is started again. After the next reboot it does, and then something else changes that nobody remembers.".to_owned(),
        by_hand: units.map(|unit| format!("systemctl restart {unit}")).collect(),
        spec: due.keys().map(|group| format!("restart \"{group}\"")).collect(),
    }))
}
