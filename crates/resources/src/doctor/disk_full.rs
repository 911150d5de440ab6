//! The disk with the images of containers is nearly full.

use std::path::Path;

use stead_engine::finding::Finding;

use super::{Look, Patient};
use crate::microk8s::COMMON;

pub(super) const NAME: &str = "disk-full";
/// From so many percent on kubelet removes images: `imageGCHighThresholdPercent` of its configuration.
const HIGH: u64 = 85;

pub(super) fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let Some(space) = patient.host.space(Path::new(COMMON))? else {
        return Ok(None);
    };
    let used = space.used_percent();
    if used < HIGH {
        return Ok(None);
    }
    Ok(Some(Finding {
        name: NAME,
        fact: format!("{used} % of the disk with the images of containers is used"),
        evidence: vec![format!(
            "{COMMON}: {} MiB of {} MiB are free",
            space.free >> 20,
            space.total >> 20
        )],
        why: format!(
            "From {HIGH} % on kubelet removes images that nobody uses just now, which are downloaded again later; with still less it evicts pods."
        ),
        by_hand: vec![
            "microk8s ctr images list   (what is there)".to_owned(),
            "journalctl --vacuum-size=200M".to_owned(),
        ],
        spec: vec![],
    }))
}
