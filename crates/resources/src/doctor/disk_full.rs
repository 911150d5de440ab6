//! The disk with the images of containers is nearly full.

use std::path::Path;

use crate::{
    doctor::{
        context::{Look, Patient},
        finding::Ailment,
    },
    microk8s::layout::COMMON,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "disk-full",
    fact: "the disk with the images of containers is nearly full",
    why: "From 85 % on kubelet removes images that nobody uses just now, which are downloaded again later; with still less it \
          evicts pods.",
    looks_at: "The file system of /var/snap/microk8s/common, where MicroK8s runs: 85 % of it or more are used.",
    by_hand: &[
        "microk8s ctr images list   (what is there)",
        "journalctl --vacuum-size=200M",
    ],
    spec: &[],
};
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
    Ok(Some(AILMENT.seen(vec![format!(
        "{COMMON}: {used} % are used, {} MiB of {} MiB are free",
        space.free >> 20,
        space.total >> 20
    )])))
}
