//! CoreDNS forwards to itself: its upstream server is a loopback address, which in its pod is its own.

use crate::{
    doctor::{
        context::{Hidden, Look, Patient},
        finding::{Ailment, Finding},
    },
    files::conf_d,
    microk8s::layout::Layout,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "dns-loop",
    fact: "CoreDNS forwards external names to itself",
    why: "In its pod, a loopback address leads CoreDNS to itself: it detects the loop and exits, or answers nothing. Names of Services resolve, external names do not.",
    looks_at: "The servers that CoreDNS forwards to, by its ConfigMap and by the resolv.conf that the kubelet gives to its pod: a loopback address.",
    by_hand: &["microk8s disable dns && microk8s enable dns SERVERS"],
    spec: &["addons \"microk8s\" {\n    dns \"SERVERS\"\n}"],
};
/// What systemd-resolved knows of servers outside: systemd-resolved.service(8).
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
/// What the kubelet gives to pods that use the names of their node, unless its argument `resolv-conf` says otherwise.
const USUAL: &str = "/etc/resolv.conf";

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    let corefile = corefile(patient, layout).await?;
    let mut evidence = vec![];
    for target in forwarders(&corefile) {
        let target = bare(target);
        if target.starts_with('/') {
            let path = resolver(patient, layout)?;
            for server in servers(patient, &path)?
                .into_iter()
                .filter(|server| is_loopback(server))
            {
                evidence.push(format!(
                    "CoreDNS forwards to the servers in {path}: {server}"
                ));
            }
        } else if is_loopback(target) {
            evidence.push(format!(
                "CoreDNS forwards to {target} (ConfigMap kube-system/coredns)"
            ));
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    let mut outside = servers(patient, UPLINK)?;
    outside.retain(|server| !is_loopback(server));
    Ok(Some(match outside.as_slice() {
        // What to write there is for people to know.
        [] => Finding {
            spec: vec![],
            ..AILMENT.seen(evidence)
        },
        outside => AILMENT.seen(evidence).with("SERVERS", &[outside.join(",")]),
    }))
}

/// Returns the settings of CoreDNS; nothing where it is not enabled.
pub(super) async fn corefile(patient: &Patient<'_>, layout: &Layout) -> Result<String, Hidden> {
    let Some(kubeconfig) = layout.kubeconfig(patient.host)? else {
        return Ok(String::new());
    };
    let map = patient
        .host
        .config_map(&kubeconfig, "kube-system", "coredns")
        .await?;
    let corefile = map.and_then(|mut map| map.remove("Corefile"));
    Ok(corefile.unwrap_or_default())
}

/// Returns where a Corefile sends what it does not know, as it is written there.
pub(super) fn forwarders(corefile: &str) -> impl Iterator<Item = &str> {
    let lines = corefile.lines().map(str::split_whitespace);
    lines.flat_map(|mut words| {
        let is_forward =
            matches!(words.next(), Some("forward" | "proxy")) && words.next() == Some(".");
        words.take_while(move |word| is_forward && *word != "{")
    })
}

/// Returns a target without its protocol.
fn bare(target: &str) -> &str {
    let apart = target.rsplit_once("://");
    apart.map_or(target, |(_, address)| address)
}

/// Returns the list of servers that the pod of CoreDNS gets.
pub(super) fn resolver(patient: &Patient<'_>, layout: &Layout) -> Result<String, Hidden> {
    let args = layout.read_args(patient.host, "kubelet")?;
    let flags = args.map(|args| args.flags()).unwrap_or_default();
    Ok(flags
        .get("resolv-conf")
        .cloned()
        .flatten()
        .unwrap_or_else(|| USUAL.to_owned()))
}

/// Returns the servers of such a list; those of systemd-resolved if a link leads there.
pub(super) fn servers(patient: &Patient<'_>, path: &str) -> Result<Vec<String>, Hidden> {
    let text = conf_d::read(patient.host, path.into())?.text;
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    Ok(servers.map(|server| server.trim().to_owned()).collect())
}

/// Whether whoever asks there asks itself.
pub(super) fn is_loopback(server: &str) -> bool {
    let address = server.trim_matches(['[', ']']);
    address.starts_with("127.") || address == "::1" || address.starts_with("::1]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::Root;

    #[test]
    fn the_link_of_systemd_resolved_is_followed() {
        let stub = "/run/systemd/resolve/stub-resolv.conf";
        for target in ["../run/systemd/resolve/stub-resolv.conf", stub] {
            let root = Root::new(&[(stub, "nameserver 127.0.0.53\noptions edns0\n")]);
            root.link(USUAL, target);
            let patient = Patient {
                host: &root.reader(),
                microk8s: Ok(None),
                hooks: None,
            };
            let found = servers(&patient, USUAL);
            assert_eq!(
                found.map_err(|hidden| hidden.0),
                Ok(vec!["127.0.0.53".to_owned()]),
                "{target}"
            );
        }
    }

    #[test]
    fn forwarders_are_read_as_coredns_reads_them() {
        let corefile = ".:53 {\n    kubernetes cluster.local\n    forward . 127.0.0.53 tls://9.9.9.9:853 {\n      x\n    }\n    forward example.org 1.1.1.1\n}\nx:53 {\n    proxy . /etc/resolv.conf\n}\n";
        let found: Vec<_> = forwarders(corefile).map(bare).collect();
        assert_eq!(found, ["127.0.0.53", "9.9.9.9:853", "/etc/resolv.conf"]);
    }

    #[test]
    fn loopback_is_told_from_the_world() {
        for server in ["127.0.0.53", "127.0.0.1:5353", "::1", "[::1]:53"] {
            assert!(is_loopback(server), "{server}");
        }
        for server in ["192.0.2.1", "1.127.0.0", "2001:db8::1", "[2001:db8::1]:53"] {
            assert!(!is_loopback(server), "{server}");
        }
    }
}
