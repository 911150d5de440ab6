//! Evidence for dockerd, which enables forwarding and sets the policy of FORWARD to DROP at its start, if forwarding is off.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use stead_engine::model::drift::Evidence;

use crate::{
    evidence::starts::{describe_start, started_after},
    host::{HostError, Reader},
    kernel::sysctl_d::{last_value, value_at_boot},
    microk8s::layout::Layout,
    netfilter::{Tables, known_writers},
};

/// Docker as the table of those who write rules calls it.
pub(super) const DOCKER: &str = "Docker";
/// The unit of Docker, that of Debian and that of Docker itself.
pub(crate) const DOCKER_UNIT: &str = "docker.service";
/// The unit of Docker in a snap.
const DOCKER_SNAP_UNIT: &str = "snap.docker.dockerd.service";
/// The settings that ufw makes before the network comes up: ufw-framework(8).
const UFW_SYSCTL_CONF: &str = "/etc/ufw/sysctl.conf";
/// The settings of Docker: dockerd(8).
const DOCKER_CONFIG: &str = "/etc/docker/daemon.json";
/// The largest settings that are read, in bytes.
const LIMIT: u64 = 1 << 20;
/// The service of MicroK8s that turns forwarding on when it starts.
pub(crate) const KUBELITE_UNIT: &str = "snap.microk8s.daemon-kubelite.service";
/// With this file it does: `run-kubelite-with-args`.
const CNI_MANIFEST: &str = "args/cni-network/cni.yaml";

/// Returns the start of dockerd after `since`, if its settings let it touch rules.
pub(super) async fn docker_start(host: &Reader, since: Timestamp) -> Option<String> {
    let settings = host.read_text(Path::new(DOCKER_CONFIG), LIMIT).ok()?;
    let settings: Value =
        settings.map_or(Some(Value::Null), |text| serde_json::from_str(&text).ok())?;
    if settings["ip-forward"] == false || settings["iptables"] == false {
        return None;
    }
    for unit in [DOCKER_UNIT, DOCKER_SNAP_UNIT] {
        if let Some(at) = started_after(host, unit, since).await {
            return Some(describe_start(unit, at));
        }
    }
    None
}

/// Says whether dockerd has turned IPv4 forwarding on: then it has set the policy of FORWARD too, where its own chains are.
pub(crate) async fn by_docker(host: &Reader, since: Timestamp) -> Option<Evidence> {
    let fact = docker_start(host, since).await?;
    let tables = Tables::read(host).await.ok()?;
    let mut dropping = tables.readable().filter(|(_, saved)| {
        let policy = saved
            .chain("filter", "FORWARD")
            .and_then(|chain| chain.policy.as_deref());
        policy == Some("DROP")
            && known_writers::of_policy(saved, "filter", "FORWARD") == Some(DOCKER)
    });
    dropping.next()?;
    Some(Evidence::Actor {
        name: DOCKER.to_owned(),
        fact,
    })
}

/// Says whether MicroK8s has turned forwarding on.
pub(crate) async fn by_microk8s(host: &Reader, since: Timestamp) -> Option<Evidence> {
    let layout = Layout::find(host).ok()??;
    host.stat(&layout.data.join(CNI_MANIFEST)).ok()??;
    let at = started_after(host, KUBELITE_UNIT, since).await?;
    Some(Evidence::Actor {
        name: "MicroK8s".to_owned(),
        fact: describe_start(KUBELITE_UNIT, at),
    })
}

/// Whether dockerd will turn forwarding on at the next boot, and then set the policy of FORWARD to DROP.
pub(crate) async fn docker_drops_at_boot(host: &Reader) -> Result<bool, HostError> {
    if !host.has_systemd()?
        || host.unit(DOCKER_UNIT).await?.file_state != "enabled"
        || is_forwarding_on_at_boot(host)?
    {
        return Ok(false);
    }
    let settings = host
        .read_text(Path::new(DOCKER_CONFIG), LIMIT)?
        .unwrap_or_default();
    let settings: Value = serde_json::from_str(&settings).unwrap_or_default();
    let leaves_alone = settings["ip-forward-no-drop"] == true
        || settings["ip-forward"] == false
        || settings["iptables"] == false;
    Ok(!leaves_alone)
}

/// Whether forwarding is on before Docker starts. The two settings are one to the kernel: ip-sysctl.rst.
fn is_forwarding_on_at_boot(host: &Reader) -> Result<bool, HostError> {
    let ufw = host
        .read_text(Path::new(UFW_SYSCTL_CONF), LIMIT)?
        .unwrap_or_default();
    for name in ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"] {
        let values = [value_at_boot(host, name)?, last_value(&ufw, name)];
        if values.iter().flatten().any(|value| value == "1") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    fn check(path: &str, text: &str, expected: bool) {
        let root = TestRoot::new(&[(path, text)]);
        assert_eq!(
            is_forwarding_on_at_boot(&root.reader()).unwrap(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn forwarding_at_boot_is_read_from_sysctl_d_and_ufw() {
        const FILE: &str = "/etc/sysctl.d/60-x.conf";
        check(FILE, "net.ipv4.ip_forward = 1\n", true);
        check(FILE, "net/ipv4/conf/all/forwarding=1\n", true);
        check(
            FILE,
            "net.ipv4.ip_forward=0\n# net.ipv4.ip_forward=1\n",
            false,
        );
        check(UFW_SYSCTL_CONF, "net/ipv4/ip_forward=1\n", true);
        check(UFW_SYSCTL_CONF, "#net/ipv4/ip_forward=1\n", false);
    }
}
