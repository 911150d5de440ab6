//! Packets between pods of one node go past iptables.

use std::path::Path;

use crate::doctor::{
    context::{Look, Patient},
    finding::Ailment,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "bridge-unfiltered",
    fact: "packets between pods of this host go past the rules of iptables",
    why: "The address of a Service becomes that of a pod by a rule. If both pods are on this host, the answer takes a way on \
          which that rule is not asked, and the connection hangs: to the DNS server, for instance.",
    looks_at: "Where MicroK8s runs: net.bridge.bridge-nf-call-iptables is 0, or not there because br_netfilter is not loaded.",
    by_hand: &[
        "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1   (until the next boot)",
    ],
    spec: &[
        "kernel-module \"br_netfilter\"",
        "sysctl \"net.bridge.bridge-nf-call-iptables\" \"1\"",
    ],
};
/// The setting, which comes with the module `br_netfilter`.
const CALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

pub(super) fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let value = patient.host.read_text(Path::new(CALL), 16)?;
    let evidence = match value.as_deref().map(str::trim) {
        Some("0") => format!("{CALL} is 0"),
        None => format!("there is no {CALL}: the module br_netfilter is not loaded"),
        Some(_) => return Ok(None),
    };
    Ok(Some(AILMENT.seen(vec![evidence])))
}
