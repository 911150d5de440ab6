//! The disk with the container images is nearly full.

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
    fact: "the disk with the container images is nearly full",
    why: "From 85 % on the kubelet removes unused images, which are downloaded again later; with even less space it evicts pods.",
    looks_at: "Where MicroK8s runs: the file system of /var/snap/microk8s/common is used to 85 % or more.",
    by_hand: &[
        "microk8s ctr images list   (lists the images)",
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
