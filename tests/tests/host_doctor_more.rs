//! `stead doctor` on booted hosts: what the cluster, its certificates, its addons and its names may have.

use e2e::{Host, Image, Inside, standin};

/// Where the data of MicroK8s is.
const DATA: &str = "/var/snap/microk8s/current";

/// A healthy host with MicroK8s: there is no network of pods, for which the real one turns forwarding on.
fn boot() -> Host {
    let host = Host::boot(Image::Debian13);
    install(&host, &format!("{}/microk8s_1.snap", standin::FOLDER));
    host.must(&["microk8s", "status", "--wait-ready"]);
    host.must(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    assert_eq!(host.found(), [""; 0]);
    host
}

fn install(host: &Host, snap: &str) {
    host.must(&["snap", "install", "--dangerous", "--classic", snap]);
}

/// Returns what was seen of the only thing that is found, which must have this name.
fn seen(host: &Host, name: &str) -> String {
    let findings = host.findings();
    let names: Vec<_> = findings.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, [name], "{findings:?}");
    findings[0]["evidence"].to_string()
}

/// Makes a certificate as MicroK8s does (`gen_server_cert`), good for so many days and for this address too.
fn certify(host: &Host, days: u32, address: &str) {
    let make = "cd \"$0\" && openssl req -new -key server.key -subj /CN=127.0.0.1 -out server.csr && \
        printf 'subjectAltName=DNS:kubernetes,IP:127.0.0.1,IP:10.152.183.1,IP:%s\\n' \"$2\" >server.ext && \
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days \"$1\" -extfile server.ext -out server.crt";
    let folder = format!("{DATA}/certs");
    host.must(&["bash", "-c", make, &folder, &days.to_string(), address]);
}

#[test]
fn certificates_that_end_or_do_not_fit_are_found() {
    let host = boot();
    certify(&host, 20, "192.0.2.10");
    let evidence = seen(&host, "certificate-expiring");
    assert!(
        evidence.contains("certs/server.crt expires on "),
        "{evidence}"
    );
    certify(&host, 365, "192.0.2.10");
    assert_eq!(host.found(), [""; 0]);

    // A host that moves to another network, and somebody who does not want its pods to be started anew for that.
    let moves = "ip address add 192.0.2.77/24 dev uplink && ip route replace default via 192.0.2.1 src 192.0.2.77";
    host.must(&["bash", "-c", moves]);
    assert_eq!(host.found(), [""; 0]);
    host.put(&format!("{DATA}/var/lock/no-cert-reissue"), "");
    let evidence = seen(&host, "certificate-address");
    assert!(evidence.contains("the address 192.0.2.77"), "{evidence}");
    certify(&host, 365, "192.0.2.77");
    assert_eq!(host.found(), [""; 0]);
}
