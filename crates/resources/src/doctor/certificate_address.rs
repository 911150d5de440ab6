//! The certificate of the API server does not match the address of this host, and MicroK8s does not renew it.

use std::net::IpAddr;

use super::certificate_expiring::{LIMIT, SERVER};
use crate::doctor::context::{CheckResult, DoctorContext};
use crate::{doctor::finding::FindingRule, files::certificate::Certificate};

pub(super) const RULE: FindingRule = FindingRule {
    name: "certificate-address",
    fact: "the certificate of the API server does not match the address of this host",
    why: "Clients that use this address reject the API server: kubectl with the output of `microk8s config`, and other nodes. Normally MicroK8s issues a new certificate when the addresses of the host change, and then removes all containers; the file no-cert-reissue prevents that.",
    criterion: "Where MicroK8s runs and var/lock/no-cert-reissue exists: the address of the default route is not in certs/server.crt.",
    by_hand: &[
        "microk8s refresh-certs --cert server.crt   (after adding the address to certs/csr.conf; restarts the API server)",
        "rm LOCK   (MicroK8s issues a new certificate within seconds, and removes and restarts all containers)",
    ],
    spec: &[],
};
/// What keeps MicroK8s from making new certificates: `apiservice-kicker`.
const LOCK: &str = "var/lock/no-cert-reissue";

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let lock = layout.data.join(LOCK);
    if host.stat(&lock)?.is_none() {
        return Ok(None);
    }
    let path = layout.data.join(SERVER);
    let text = host.read(&path, LIMIT)?.unwrap_or_default();
    let (Some(certificate), Some(address)) = (Certificate::parse(&text), host.outbound_address())
    else {
        return Ok(None);
    };
    if certificate.addresses.contains(&address) {
        return Ok(None);
    }
    let known: Vec<_> = certificate
        .addresses
        .iter()
        .map(IpAddr::to_string)
        .collect();
    let finding = RULE.found(vec![
        format!("the address of the default route is {address}"),
        format!("{} is valid for {}", path.display(), known.join(", ")),
        format!("{} exists", lock.display()),
    ]);
    Ok(Some(finding.substitute(
        "LOCK",
        &[lock.to_string_lossy().into_owned()],
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        files::{certificate::tests::EXAMPLE, test_root::TestRoot},
        microk8s::layout::Layout,
    };

    #[test]
    fn certificate_address_is_reported_only_with_the_lock() {
        for (lock, is_found) in [(LOCK, true), ("var/lock/lite.lock", false)] {
            let data = "/var/snap/microk8s/x1";
            let root = TestRoot::new(&[
                (&format!("{data}/args/kubelite"), ""),
                (&format!("{data}/{lock}"), ""),
                (&format!("{data}/{SERVER}"), EXAMPLE),
            ]);
            root.symlink("/var/snap/microk8s/current", "x1");
            let host = root.reader();
            // No address of a machine that runs this is among those for documentation.
            if host.outbound_address().is_none() {
                return;
            }
            let context = DoctorContext {
                host: &host,
                microk8s: Ok(Layout::find(&host).unwrap()),
                hooks: None,
            };
            let found = check(&context).map_err(|hidden| hidden.0).unwrap();
            assert_eq!(found.is_some(), is_found, "{lock}");
        }
    }
}
