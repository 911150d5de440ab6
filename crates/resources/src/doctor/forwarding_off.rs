//! The kernel does not forward packets.

use std::path::Path;

use crate::doctor::{
    context::{Look, Patient},
    finding::Ailment,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "forwarding-off",
    fact: "the kernel does not forward packets",
    why: "Every packet of a pod to another pod or out of its node is forwarded. Without forwarding pods reach nothing.",
    looks_at: "Where MicroK8s runs: net.ipv4.ip_forward is 0.",
    by_hand: &["sysctl -w net.ipv4.ip_forward=1   (until the next boot)"],
    spec: &["sysctl \"net.ipv4.ip_forward\" \"1\""],
};
/// The setting.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let value = patient.host.read_text(Path::new(FORWARD), 16)?;
    let is_off = value.is_some_and(|value| value.trim() == "0");
    if patient.microk8s()?.is_none() || !is_off {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(vec![format!("{FORWARD} is 0")])))
}
