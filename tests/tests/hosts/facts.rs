//! What a booted host says of itself, and what a spec makes of it.

use std::collections::BTreeMap;

use e2e::{Host, Image, TestEnv};

/// A spec that is another one on each host, with a secret that only this host can decrypt.
const SPEC: &str = r#"host (fact)"hostname" {
    when fact="virtualisation" is="systemd-nspawn" {
        directory "/srv/container"
    }
    when fact="virtualisation" is-not="systemd-nspawn" {
        directory "/srv/other"
    }
    when fact="systemd" at-least="250" {
        secret-file "/srv/token" (secret)"credential:token"
    }
    file "/srv/os" {
        content (fact)"os"
    }
}
"#;

#[test]
fn facts_match_the_tools_of_the_host() {
    let host = Host::boot(Image::Debian13);
    let said = host.run_ok(&["stead", "facts", "--json"]).out;
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |name: &str| document["facts"][name].to_string();
    let asked: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("virtualisation", &["systemd-detect-virt"][..]),
        ("kernel", &["uname", "-r"]),
        ("hostname", &["hostname"]),
        ("architecture", &["uname", "-m"]),
    ]);
    for (name, argv) in asked {
        // It ends with 1 where it detects nothing.
        let expected = host.run(argv).out;
        assert_eq!(of(name), format!("{:?}", expected.trim()), "{name}");
    }
    let version = host.run_ok(&["systemctl", "--version"]).out;
    let version = version.split_whitespace().nth(1).unwrap().to_owned();
    assert!(
        of("systemd").starts_with(&format!("\"{version}")),
        "{}",
        of("systemd")
    );
    let cpus = host.run_ok(&["getconf", "_NPROCESSORS_ONLN"]).out;
    assert_eq!(of("cpus"), cpus.trim());
    assert_eq!(of("os"), "\"debian\"");
    assert_eq!(of("os-version"), "\"13\"");
    assert_eq!(of("form"), "\"vm\"");
    assert_eq!(of("iptables"), "\"nft\"");
    let package = host
        .run_ok(&["dpkg-query", "-W", "-f=${Version}", "snapd"])
        .out;
    assert_eq!(of("snapd"), format!("{package:?}"));
    assert_eq!(of("microk8s"), "\"none\"");

    host.run_ok(&[
        "update-alternatives",
        "--set",
        "iptables",
        "/usr/sbin/iptables-legacy",
    ]);
    let said = host.run_ok(&["stead", "facts"]).out;
    let line = said
        .lines()
        .find(|line| line.starts_with("iptables "))
        .unwrap();
    assert!(line.contains(" legacy "), "{line}");
}

#[test]
fn spec_uses_facts_and_an_encrypted_credential() {
    let host = Host::boot(Image::Debian13);
    host.put("/root/host.kdl", SPEC);
    host.run_ok(&["mkdir", "-p", "-m", "700", "/etc/credstore.encrypted"]);
    host.put("/run/plain", "Correct-Horse");
    host.run_ok(&[
        "systemd-creds",
        "encrypt",
        "--with-key=host",
        "--name=token",
        "/run/plain",
        "/etc/credstore.encrypted/token",
    ]);
    host.run_ok(&["rm", "/run/plain"]);
    let start = host.fingerprint();
    let applied = host.run_ok(&["stead", "apply", "--yes", "/root/host.kdl"]);
    assert!(!(applied.out + &applied.err).contains("Correct-Horse"));
    assert_eq!(host.get("/srv/token").as_deref(), Some("Correct-Horse"));
    assert_eq!(host.get("/srv/os").as_deref(), Some("debian"));
    host.run_ok(&["test", "-d", "/srv/container"]);
    assert_eq!(host.run(&["test", "-e", "/srv/other"]).code, Some(1));
    let planned = host.run_ok(&["stead", "plan", "/root/host.kdl"]).out;
    assert!(planned.starts_with("No changes."), "{planned}");
    // The runs know what was wanted, whatever comes of facts and secrets: what the hooks do needs neither.
    host.run_ok(&["rm", "/etc/credstore.encrypted/token"]);
    let refused = host.run(&["stead", "plan", "/root/host.kdl"]);
    assert!(
        refused.err.contains("there is no credential `token`"),
        "{}",
        refused.err
    );
    host.run_ok(&["stead", "undo", "--yes", "1"]);
    let end = host.fingerprint();
    let left = e2e::difference(&start, &end);
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.contains("credstore"))
        .collect();
    assert_eq!(left, Vec::<&String>::new());
}
