//! What stead put there to bring things back is not there any more.

use crate::{
    doctor::{
        context::{Hidden, Look, Patient},
        finding::Ailment,
    },
    safety::hook_files,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "hook-broken",
    fact: "what brings back what reboots and refreshes overwrite is not there any more",
    why: "It was applied on this host. Without it the kernel forgets its rules at the next reboot, and a refresh of MicroK8s \
          keeps the arguments that it brings.",
    looks_at: "The units and files of each hook that a run of stead has made here and that counts.",
    by_hand: &["apply your spec again: `stead apply`"],
    spec: &["hook \"HOOK\""],
};

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let Some(hooks) = patient.hooks else {
        return Err(Hidden("only root sees what was applied here".to_owned()));
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
