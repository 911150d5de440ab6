//! What stead put there to bring things back is not there any more.

use stead_engine::finding::Finding;

use super::{Hidden, Look, Patient};
use crate::hook;

pub(super) const NAME: &str = "hook-broken";

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let Some(hooks) = patient.hooks else {
        return Err(Hidden("only root sees what was applied here".to_owned()));
    };
    let mut evidence = vec![];
    let mut broken = vec![];
    for name in hooks {
        let faults = hook::faults(patient.host, name)?;
        if !faults.is_empty() {
            evidence.extend(faults);
            broken.push(name);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(Finding {
        name: NAME,
        fact: "what brings back what reboots and refreshes overwrite is not there any more".to_owned(),
        evidence,
        why: "It was applied on this host. Without it the kernel forgets its rules at the next reboot, and a refresh of MicroK8s keeps the arguments that it brings.".to_owned(),
        by_hand: vec!["apply your spec again: `stead apply`".to_owned()],
        spec: broken.iter().map(|name| format!("hook \"{name}\"")).collect(),
    }))
}
