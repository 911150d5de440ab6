//! The certificate of the API server does not match the address of this host, and MicroK8s does not renew it.

use std::net::IpAddr;

use super::certificate_expiring::{LIMIT, SERVER};
use crate::doctor::context::{Look, Patient};
use crate::{doctor::finding::Ailment, files::certificate::Certificate};

pub(super) const AILMENT: Ailment = Ailment {
    name: "certificate-address",
    fact: "the certificate of the API server does not match the address of this host",
    why: "Clients that use this address reject the API server: kubectl with the output of `microk8s config`, and other nodes. Normally MicroK8s issues a new certificate when the addresses of the host change, and then removes all containers; the file no-cert-reissue prevents that.",
    looks_at: "Where MicroK8s runs and var/lock/no-cert-reissue exists: the address of the default route is not in certs/server.crt.",
    by_hand: &[
        "microk8s refresh-certs --cert server.crt   (after adding the address to certs/csr.conf; restarts the API server)",
        "rm LOCK   (MicroK8s issues a new certificate within seconds, and removes and restarts all containers)",
    ],
    spec: &[],
};
/// What keeps MicroK8s from making new certificates: `apiservice-kicker`.
const LOCK: &str = "var/lock/no-cert-reissue";

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let host = patient.host;
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    let lock = layout.data.join(LOCK);
    if host.stat(&lock)?.is_none() {
        return Ok(None);
    }
    let path = layout.data.join(SERVER);
    let text = host.read(&path, LIMIT)?.unwrap_or_default();
    let (Some(certificate), Some(address)) = (Certificate::parse(&text), host.address_outward())
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
    let finding = AILMENT.seen(vec![
        format!("the address of the default route is {address}"),
        format!("{} is valid for {}", path.display(), known.join(", ")),
        format!("{} exists", lock.display()),
    ]);
    Ok(Some(
        finding.with("LOCK", &[lock.to_string_lossy().into_owned()]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        files::{certificate::tests::EXAMPLE, test_root::Root},
        microk8s::layout::Layout,
    };

    #[test]
    fn without_the_lock_microk8s_makes_a_new_certificate_itself() {
        for (lock, is_found) in [(LOCK, true), ("var/lock/lite.lock", false)] {
            let data = "/var/snap/microk8s/x1";
            let root = Root::new(&[
                (&format!("{data}/args/kubelite"), ""),
                (&format!("{data}/{lock}"), ""),
                (&format!("{data}/{SERVER}"), EXAMPLE),
            ]);
            root.link("/var/snap/microk8s/current", "x1");
            let host = root.reader();
            // No address of a machine that runs this is among those for documentation.
            if host.address_outward().is_none() {
                return;
            }
            let patient = Patient {
                host: &host,
                microk8s: Ok(Layout::find(&host).unwrap()),
                hooks: None,
            };
            let found = look(&patient).map_err(|hidden| hidden.0).unwrap();
            assert_eq!(found.is_some(), is_found, "{lock}");
        }
    }
}
