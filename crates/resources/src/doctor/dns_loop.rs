//! CoreDNS forwards to itself: its upstream server is a loopback address, which in its pod is its own.

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::{Finding, FindingRule},
    },
    files::conf_d,
    microk8s::layout::Layout,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "dns-loop",
    fact: "CoreDNS forwards external names to itself",
    why: "In its pod, a loopback address leads CoreDNS to itself: it detects the loop and exits, or answers nothing. Names of Services resolve, external names do not.",
    criterion: "The servers that CoreDNS forwards to, by its ConfigMap and by the resolv.conf that the kubelet gives to its pod: a loopback address.",
    by_hand: &["microk8s disable dns && microk8s enable dns SERVERS"],
    spec: &["addons \"microk8s\" {\n    dns \"SERVERS\"\n}"],
};
/// What systemd-resolved knows of servers outside: systemd-resolved.service(8).
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
/// What the kubelet gives to pods that use the names of their node, unless its argument `resolv-conf` says otherwise.
const DEFAULT_RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let corefile = corefile(context, layout).await?;
    let mut evidence = vec![];
    for target in forwarders(&corefile) {
        let target = without_scheme(target);
        if target.starts_with('/') {
            let path = resolver(context, layout)?;
            for server in servers(context, &path)?
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
    let mut outside = servers(context, UPLINK)?;
    outside.retain(|server| !is_loopback(server));
    Ok(Some(match outside.as_slice() {
        // What to write there is for people to know.
        [] => Finding {
            spec: vec![],
            ..RULE.found(evidence)
        },
        outside => RULE
            .found(evidence)
            .substitute("SERVERS", &[outside.join(",")]),
    }))
}

/// Returns the settings of CoreDNS; nothing where it is not enabled.
pub(super) async fn corefile(
    context: &DoctorContext<'_>,
    layout: &Layout,
) -> Result<String, CheckError> {
    let Some(kubeconfig) = layout.kubeconfig(context.host)? else {
        return Ok(String::new());
    };
    let map = context
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
fn without_scheme(target: &str) -> &str {
    let apart = target.rsplit_once("://");
    apart.map_or(target, |(_, address)| address)
}

/// Returns the list of servers that the pod of CoreDNS gets.
pub(super) fn resolver(context: &DoctorContext<'_>, layout: &Layout) -> Result<String, CheckError> {
    let args = layout.read_args(context.host, "kubelet")?;
    let flags = args.map(|args| args.flags()).unwrap_or_default();
    Ok(flags
        .get("resolv-conf")
        .cloned()
        .flatten()
        .unwrap_or_else(|| DEFAULT_RESOLV_CONF.to_owned()))
}

/// Returns the servers of such a list; those of systemd-resolved if a link leads there.
pub(super) fn servers(context: &DoctorContext<'_>, path: &str) -> Result<Vec<String>, CheckError> {
    let text = conf_d::read_conf_file(context.host, path.into())?.text;
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
    use crate::files::test_root::TestRoot;

    #[test]
    fn servers_follows_the_symlink_of_systemd_resolved() {
        let stub = "/run/systemd/resolve/stub-resolv.conf";
        for target in ["../run/systemd/resolve/stub-resolv.conf", stub] {
            let root = TestRoot::new(&[(stub, "nameserver 127.0.0.53\noptions edns0\n")]);
            root.symlink(DEFAULT_RESOLV_CONF, target);
            let context = DoctorContext {
                host: &root.reader(),
                microk8s: Ok(None),
                hooks: None,
            };
            let found = servers(&context, DEFAULT_RESOLV_CONF);
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
        let found: Vec<_> = forwarders(corefile).map(without_scheme).collect();
        assert_eq!(found, ["127.0.0.53", "9.9.9.9:853", "/etc/resolv.conf"]);
    }

    #[test]
    fn is_loopback_accepts_only_loopback_servers() {
        for server in ["127.0.0.53", "127.0.0.1:5353", "::1", "[::1]:53"] {
            assert!(is_loopback(server), "{server}");
        }
        for server in ["192.0.2.1", "1.127.0.0", "2001:db8::1", "[2001:db8::1]:53"] {
            assert!(!is_loopback(server), "{server}");
        }
    }
}
