//! A hook of stead is incomplete or missing.

use crate::{
    doctor::{
        context::{Hidden, Look, Patient},
        finding::Ailment,
    },
    safety::hook_files,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "hook-broken",
    fact: "a hook that restores what reboots and refreshes overwrite is broken",
    why: "It was applied on this host. Without it the rules of iptables are lost at the next reboot, and the arguments of MicroK8s at the next refresh.",
    looks_at: "The units and files of each hook that the last runs of stead applied here.",
    by_hand: &["apply your spec again: `stead apply`"],
    spec: &["hook \"HOOK\""],
};

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let Some(hooks) = patient.hooks else {
        return Err(Hidden(
            "only root can read what was applied here".to_owned(),
        ));
    };
    let mut evidence = vec![];
    let mut broken = vec![];
    for name in hooks {
        let faults = hook_files::faults(patient.host, name)?;
        if !faults.is_empty() {
            evidence.extend(faults);
            broken.push(name);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(evidence).with("HOOK", &broken)))
}
