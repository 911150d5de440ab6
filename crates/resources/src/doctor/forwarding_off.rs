//! The kernel does not forward packets.

use std::path::Path;

use crate::doctor::{
    context::{CheckResult, DoctorContext},
    finding::FindingRule,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "forwarding-off",
    fact: "the kernel does not forward packets",
    why: "Every packet of a pod to another pod or out of its node is forwarded. Without forwarding pods reach nothing.",
    criterion: "Where MicroK8s runs: net.ipv4.ip_forward is 0.",
    by_hand: &["sysctl -w net.ipv4.ip_forward=1   (until the next boot)"],
    spec: &["sysctl \"net.ipv4.ip_forward\" \"1\""],
};
/// The setting.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let value = context.host.read_text(Path::new(IP_FORWARD), 16)?;
    let is_off = value.is_some_and(|value| value.trim() == "0");
    if context.microk8s()?.is_none() || !is_off {
        return Ok(None);
    }
    Ok(Some(RULE.found(vec![format!("{IP_FORWARD} is 0")])))
}
