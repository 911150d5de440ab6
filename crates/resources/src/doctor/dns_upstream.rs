//! The upstream servers of CoreDNS do not answer.

use std::net::{IpAddr, SocketAddr};

use crate::doctor::finding::FindingRule;
use futures::future::join_all;

use super::dns_loop::{corefile, forwarders, is_loopback, resolver, servers};
use crate::doctor::context::{CheckResult, DoctorContext};

pub(super) const RULE: FindingRule = FindingRule {
    name: "dns-upstream",
    fact: "no upstream DNS server of CoreDNS answers",
    why: "Names of Services resolve in pods, external names do not: downloads, updates and mails of programs time out. A network may allow only its own servers, and a laptop may have moved to another network.",
    criterion: "The servers that CoreDNS forwards to, by its ConfigMap and by the resolv.conf that the kubelet gives to its pod: none answers a query of this host, over UDP and TCP, within two seconds. Servers that are asked another way, such as over TLS, are not checked.",
    by_hand: &[
        "resolvectl query example.org   (shows whether this host has a server that answers)",
        "microk8s disable dns && microk8s enable dns SERVERS   (with servers that answer here)",
    ],
    spec: &[],
};
/// Where a server of DNS listens.
const PORT: u16 = 53;
/// A name that is kept for examples: RFC 2606.
const NAME: &str = "example.org";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let corefile = corefile(context, layout).await?;
    let mut targets = vec![];
    for target in forwarders(&corefile) {
        if target.starts_with('/') {
            let path = resolver(context, layout)?;
            targets.extend(servers(context, &path)?);
        } else {
            targets.push(target.to_owned());
        }
    }
    // Those that CoreDNS reaches in its own pod are another finding.
    targets.retain(|target| !is_loopback(target));
    let Some(addresses) = addresses(&targets) else {
        return Ok(None);
    };
    let host = context.host;
    let asked = addresses.iter().map(async |address| {
        let said = host.query_name_server(*address, NAME, None).await;
        said.err().map(|fault| format!("{address}: {fault}"))
    });
    let faults: Option<Vec<String>> = join_all(asked).await.into_iter().collect();
    Ok(faults
        .filter(|faults| !faults.is_empty())
        .map(|faults| RULE.found(faults)))
}

/// Returns where these servers listen; `None` if one of them cannot be asked as servers are asked.
fn addresses(targets: &[String]) -> Option<Vec<SocketAddr>> {
    let address = |target: &String| {
        let target = target.strip_prefix("dns://").unwrap_or(target);
        let at_port = |ip: IpAddr| SocketAddr::new(ip, PORT);
        let ip = target.parse().ok().map(at_port);
        ip.or_else(|| target.parse().ok())
    };
    targets.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expected: Option<&str>) {
        let found = addresses(&[target.to_owned()]);
        let found = found.map(|found| found[0].to_string());
        assert_eq!(found.as_deref(), expected, "{target}");
    }

    #[test]
    fn upstream_addresses_match_coredns_targets() {
        check("192.0.2.1", Some("192.0.2.1:53"));
        check("192.0.2.1:5353", Some("192.0.2.1:5353"));
        check("dns://192.0.2.1", Some("192.0.2.1:53"));
        check("2001:db8::1", Some("[2001:db8::1]:53"));
        check("[2001:db8::1]:5353", Some("[2001:db8::1]:5353"));
        check("tls://192.0.2.1", None);
        check("fe80::1%eth0", None);
        check("ns.example.org", None);
    }
}
