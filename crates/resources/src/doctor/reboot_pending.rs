//! An installed update waits for a reboot.

use std::path::Path;

use crate::doctor::{
    context::{CheckResult, DoctorContext},
    finding::FindingRule,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "reboot-pending",
    fact: "a reboot is pending",
    why: "Until then the old kernel or the old libraries run, with the bugs that the update fixed. Settings made by hand that do not survive a reboot are noticed only afterwards.",
    criterion: "The file /run/reboot-required, which packages create that need a reboot.",
    by_hand: &["reboot when it suits you; `stead plan` shows before what would be lost"],
    spec: &[],
};
/// Made by packages that need one: Debian's update-notifier-common and unattended-upgrades.
const REQUIRED: &str = "/run/reboot-required";
/// The names of those packages.
const PACKAGES: &str = "/run/reboot-required.pkgs";
/// The largest list that is read, in bytes.
const LIMIT: u64 = 64 << 10;

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.host.stat(Path::new(REQUIRED))?.is_none() {
        return Ok(None);
    }
    let names = context
        .host
        .read_text(Path::new(PACKAGES), LIMIT)?
        .unwrap_or_default();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    let mut evidence = vec![format!("{REQUIRED} exists")];
    if !names.is_empty() {
        evidence.push(format!("{PACKAGES}: {}", names.join(", ")));
    }
    Ok(Some(RULE.found(evidence)))
}
