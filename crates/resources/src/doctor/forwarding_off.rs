//! The kernel forwards nothing.

use std::path::Path;

use stead_engine::finding::Finding;

use super::{Look, Patient};

pub(super) const NAME: &str = "forwarding-off";
/// The setting.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let value = patient.host.read_text(Path::new(FORWARD), 16)?;
    let is_off = value.is_some_and(|value| value.trim() == "0");
    if patient.microk8s()?.is_none() || !is_off {
        return Ok(None);
    }
    Ok(Some(Finding {
        name: NAME,
        fact: "the kernel forwards no packets".to_owned(),
        evidence: vec![format!("{FORWARD} is 0")],
        why: "Every packet of a pod that leaves its node, and every one to another pod, is forwarded. Without that pods are alone.".to_owned(),
        by_hand: vec!["sysctl -w net.ipv4.ip_forward=1   (until the next boot)".to_owned()],
        spec: vec!["sysctl \"net.ipv4.ip_forward\" \"1\"".to_owned()],
    }))
}
