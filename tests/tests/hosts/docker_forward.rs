//! The trouble that stead exists to end, made by the programs that really make it, on a host without stead.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use e2e::{Host, Image, TestEnv};

/// Returns the policy of FORWARD as the kernel has it.
fn policy(host: &Host) -> String {
    let rules = host.run_ok(&["iptables-nft", "-S", "FORWARD"]).out;
    rules.lines().next().unwrap().to_owned()
}

#[test]
fn docker_overrides_saved_rules_at_each_boot() {
    let mut host = Host::boot(Image::Debian13);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");

    host.reboot();
    assert_eq!(
        host.run_ok(&["systemctl", "is-active", "docker.service"])
            .out,
        "active\n"
    );
    assert_eq!(policy(&host), "-P FORWARD DROP", "dockerd did it");

    // What the warning of MicroK8s advises: set it by hand, and make that last with iptables-persistent.
    host.run_ok(&["iptables-nft", "-P", "FORWARD", "ACCEPT"]);
    host.run_ok(&["netfilter-persistent", "save"]);
    let saved = host.get("/etc/iptables/rules.v4").unwrap();
    assert!(saved.contains(":FORWARD ACCEPT"), "{saved}");
    host.run_ok(&["systemctl", "is-enabled", "netfilter-persistent.service"]);
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");

    host.reboot();
    let restored = host.run_ok(&["systemctl", "is-active", "netfilter-persistent.service"]);
    assert_eq!(restored.out, "active\n");
    assert_eq!(policy(&host), "-P FORWARD DROP", "and dockerd did it again");
}

#[test]
fn readme_example_keeps_forward_at_accept() {
    let readme = include_str!("../../../README.md");
    let spec = readme.split("```kdl,file=laptop.kdl\n").nth(1).unwrap();
    let spec = spec.split("```").next().unwrap();
    let mut host = Host::boot(Image::Debian13);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    host.reboot();
    assert_eq!(policy(&host), "-P FORWARD DROP", "dockerd did it");

    host.put("/root/laptop.kdl", spec);
    let applied = host.stead(&["apply", "--yes", "/root/laptop.kdl"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");

    host.reboot();
    let docker = host.run_ok(&["systemctl", "is-active", "docker.service"]);
    assert_eq!(docker.out, "active\n");
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");
    let plan = host.stead(&["plan", "/root/laptop.kdl"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
}
