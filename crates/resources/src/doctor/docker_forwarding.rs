//! At each boot Docker enables forwarding, and then sets the policy of FORWARD to DROP.

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    evidence::forwarding::{DOCKER_UNIT as UNIT, docker_drops_at_boot},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "docker-forwarding",
    fact: "at the next boot Docker enables forwarding and sets FORWARD to DROP",
    why: "If forwarding is off when Docker starts, Docker enables it and sets the policy of FORWARD to DROP. If it is on already, Docker leaves the policy alone. So this host may work now and fail after a reboot.",
    criterion: "Where MicroK8s is installed: docker.service is enabled and may change both, and no file in sysctl.d or of ufw enables forwarding before Docker starts.",
    by_hand: &["write `net.ipv4.ip_forward = 1` into /etc/sysctl.d/60-forward.conf"],
    spec: &[
        "sysctl \"net.ipv4.ip_forward\" \"1\"",
        "iptables-policy \"filter/FORWARD\" \"ACCEPT\"",
    ],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() || !docker_drops_at_boot(context.host).await? {
        return Ok(None);
    }
    Ok(Some(RULE.found(vec![
        format!("{UNIT} is enabled"),
        "no file in sysctl.d sets net.ipv4.ip_forward to 1, so it is 0 when Docker starts"
            .to_owned(),
    ])))
}
