//! Packets between pods of one node bypass iptables.

use std::path::Path;

use crate::doctor::{
    context::{CheckResult, DoctorContext},
    finding::FindingRule,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "bridge-unfiltered",
    fact: "packets between pods of this host bypass the rules of iptables",
    why: "A rule of iptables translates the address of a Service to that of a pod. If both pods are on this host, the reply bypasses that rule, and the connection hangs: to the DNS server, for instance.",
    criterion: "Where MicroK8s runs: net.bridge.bridge-nf-call-iptables is 0, or does not exist because br_netfilter is not loaded.",
    by_hand: &[
        "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1   (until the next boot)",
    ],
    spec: &[
        "kernel-module \"br_netfilter\"",
        "sysctl \"net.bridge.bridge-nf-call-iptables\" \"1\"",
    ],
};
/// The setting, which comes with the module `br_netfilter`.
const BRIDGE_SYSCTL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let value = context.host.read_text(Path::new(BRIDGE_SYSCTL), 16)?;
    let evidence = match value.as_deref().map(str::trim) {
        Some("0") => format!("{BRIDGE_SYSCTL} is 0"),
        None => format!("{BRIDGE_SYSCTL} does not exist: the module br_netfilter is not loaded"),
        Some(_) => return Ok(None),
    };
    Ok(Some(RULE.found(vec![evidence])))
}
