//! At each boot Docker is the one who turns forwarding on, and then sets the policy of FORWARD to DROP.

use std::path::Path;

use serde_json::Value;
use stead_engine::finding::Ailment;

use super::{Look, Patient};
use crate::{
    host::{HostError, Reader},
    sysctl_files::{value_at_boot, value_in},
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "docker-forwarding",
    fact: "at the next boot Docker turns forwarding on, and then drops what it does not know",
    why: "Docker that finds forwarding off turns it on and sets the policy of FORWARD to DROP. If it is on already, Docker \
          leaves the policy alone. So this host may work now and fail after a reboot.",
    looks_at: "Where MicroK8s is: docker.service is enabled and may change both, and no file in sysctl.d or of ufw turns \
               forwarding on before it starts.",
    by_hand: &["write `net.ipv4.ip_forward = 1` into /etc/sysctl.d/60-forward.conf"],
    spec: &[
        "sysctl \"net.ipv4.ip_forward\" \"1\"",
        "iptables-policy \"filter/FORWARD\" \"ACCEPT\"",
    ],
};
const UNIT: &str = "docker.service";
/// The settings of Docker: dockerd(8).
const DAEMON: &str = "/etc/docker/daemon.json";
/// The settings that ufw makes before the network comes up: ufw-framework(8).
const UFW: &str = "/etc/ufw/sysctl.conf";
/// The largest settings that are read, in bytes.
const LIMIT: u64 = 1 << 20;

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let host = patient.host;
    if patient.microk8s()?.is_none() || !host.has_systemd()? {
        return Ok(None);
    }
    if host.unit(UNIT).await?.file != "enabled" || is_on_at_boot(host)? {
        return Ok(None);
    }
    let settings = host
        .read_text(Path::new(DAEMON), LIMIT)?
        .unwrap_or_default();
    let settings: Value = serde_json::from_str(&settings).unwrap_or_default();
    if settings["ip-forward-no-drop"] == true
        || settings["ip-forward"] == false
        || settings["iptables"] == false
    {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(vec![
        format!("{UNIT} is enabled"),
        "no file in sysctl.d sets net.ipv4.ip_forward to 1, so that it is 0 when Docker starts"
            .to_owned(),
    ])))
}

/// Whether forwarding is on before Docker starts. The two settings are one to the kernel: ip-sysctl.rst.
fn is_on_at_boot(host: &Reader) -> Result<bool, HostError> {
    let ufw = host.read_text(Path::new(UFW), LIMIT)?.unwrap_or_default();
    for name in ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"] {
        let values = [value_at_boot(host, name)?, value_in(&ufw, name)];
        if values.iter().flatten().any(|value| value == "1") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    fn check(path: &str, text: &str, expected: bool) {
        let root = Root::new(&[(path, text)]);
        assert_eq!(is_on_at_boot(&root.reader()).unwrap(), expected, "{text}");
    }

    #[test]
    fn forwarding_can_be_turned_on_in_several_ways() {
        const FILE: &str = "/etc/sysctl.d/60-x.conf";
        check(FILE, "net.ipv4.ip_forward = 1\n", true);
        check(FILE, "net/ipv4/conf/all/forwarding=1\n", true);
        check(
            FILE,
            "net.ipv4.ip_forward=0\n# net.ipv4.ip_forward=1\n",
            false,
        );
        check(UFW, "net/ipv4/ip_forward=1\n", true);
        check(UFW, "#net/ipv4/ip_forward=1\n", false);
    }
}
