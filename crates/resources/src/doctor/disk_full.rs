//! The disk with the container images is nearly full.

use std::path::Path;

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::layout::COMMON,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "disk-full",
    fact: "the disk with the container images is nearly full",
    why: "From 85 % on the kubelet removes unused images, which are downloaded again later; with even less space it evicts pods.",
    criterion: "Where MicroK8s runs: the file system of /var/snap/microk8s/common is used to 85 % or more.",
    by_hand: &[
        "microk8s ctr images list   (lists the images)",
        "journalctl --vacuum-size=200M",
    ],
    spec: &[],
};
/// From so many percent on kubelet removes images: `imageGCHighThresholdPercent` of its configuration.
const GC_THRESHOLD: u64 = 85;

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let Some(space) = context.host.disk_space(Path::new(COMMON))? else {
        return Ok(None);
    };
    let used = space.used_percent();
    if used < GC_THRESHOLD {
        return Ok(None);
    }
    Ok(Some(RULE.found(vec![format!(
        "{COMMON}: {used} % are used, {} MiB of {} MiB are free",
        space.free >> 20,
        space.total >> 20
    )])))
}
