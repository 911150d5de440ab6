//! `stead doctor` on booted hosts: each finding where its cause is, made by those who really make it, and none elsewhere.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{thread::sleep, time::Duration};

use e2e::{CommandOutput, Host, Image, TestEnv, difference, standin, wait_until};

fn install(host: &Host, file: &str) {
    let file = format!("{}/{file}.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
}

/// Applies the spec that `stead doctor --show-fix` shows.
fn apply_fix(host: &Host) -> CommandOutput {
    let said = host.stead_exits(&["doctor", "--show-fix"], 3);
    let (spec, plan) = said.out.split_once("\n}\n").unwrap();
    assert!(plan.contains("Plan: "), "{plan}");
    host.put("/root/mend.kdl", &format!("{spec}\n}}\n"));
    host.stead_exits(&["apply", "--yes", "/root/mend.kdl"], 0)
}

#[test]
fn doctor_finds_nothing_on_plain_hosts_and_beside_docker() {
    for image in [Image::Debian12, Image::Debian13] {
        let host = Host::boot(image);
        let start = host.fingerprint();
        assert_eq!(host.finding_names(), [""; 0]);
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
        host.run_ok(&["systemctl", "start", "docker.service"]);
        assert_eq!(host.finding_names(), [""; 0]);
    }
}

#[test]
fn doctor_finds_each_problem_beside_microk8s() {
    let mut host = Host::boot(Image::Debian13);
    install(&host, "microk8s_1");
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    // There is no network of pods here, for which the real one turns forwarding on.
    assert_eq!(host.finding_names(), ["forwarding-off"]);
    // The real dockerd, at boot.
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    assert_eq!(
        host.finding_names(),
        ["docker-forwarding", "forwarding-off"]
    );
    host.reboot();
    assert_eq!(host.finding_names(), ["docker-forwarding", "forward-drop"]);
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("## What is wrong here?").unwrap();
    let (_, shown) = section.split_once("```text,seen=").unwrap();
    let (_, shown) = shown.split_once('\n').unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert_eq!(host.stead_exits(&["doctor"], 3).out, shown);
    let start = host.settled_fingerprint();
    let nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "stead",
        "doctor",
    ];
    let said = host.run(&nobody);
    assert_eq!(said.code, Some(0), "{said:?}");
    let hidden = "not checked: forward-drop: only root and the group microk8s can read the state of MicroK8s\n";
    assert!(said.out.contains(hidden), "{said:?}");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
    apply_fix(&host);
    assert_eq!(host.finding_names(), [""; 0]);
    host.reboot();
    wait_until("the hook has mended it", || host.finding_names().is_empty());

    for (cause, cure, expected) in [
        (
            "iptables-nft -I FORWARD -j DROP",
            "iptables-nft -D FORWARD -j DROP",
            "forward-refused",
        ),
        (
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
            "forwarding-off",
        ),
        (
            "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
            "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
            "bridge-unfiltered",
        ),
        (
            "iptables-legacy -A INPUT -s 192.0.2.1 -j DROP",
            "iptables-legacy -F INPUT",
            "rules-split",
        ),
        (
            "rm /etc/systemd/system/docker.service.wants/stead-restore@*",
            "stead apply --yes /root/mend.kdl",
            "hook-broken",
        ),
        (
            "touch /run/reboot-required",
            "rm /run/reboot-required",
            "reboot-pending",
        ),
        ("fallocate -l 7G /root/fill", "rm /root/fill", "disk-full"),
        (
            "printf '[Service]\nExecStart=false\nRestart=always\nRestartSec=10ms\n' >/run/systemd/system/bad.service; systemctl start --no-block bad; sleep 2",
            "rm /run/systemd/system/bad.service; systemctl reset-failed bad; systemctl daemon-reload",
            "restart-loop",
        ),
    ] {
        host.run_ok(&["bash", "-ec", cause]);
        assert_eq!(host.finding_names(), [expected], "{cause}");
        host.run_ok(&["bash", "-ec", cure]);
        assert_eq!(host.finding_names(), [""; 0], "{cure}");
    }

    // A server on this host that pods cannot reach: named in the addon, and in what the host itself uses.
    host.start_name_server("192.0.2.53");
    host.run_ok(&["microk8s", "enable", "dns", "127.0.0.53"]);
    host.serve_cluster_dns("192.0.2.53");
    assert_eq!(host.finding_names(), ["dns-loop"]);
    let edit = "microk8s kubectl get configmap coredns -n kube-system -o yaml | sed s:127.0.0.53:/etc/resolv.conf: | microk8s kubectl replace -f -";
    host.run_ok(&["bash", "-ec", edit]);
    host.put("/etc/resolv.conf", "nameserver 192.0.2.53\n");
    assert_eq!(host.finding_names(), [""; 0]);
    host.put("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    assert_eq!(host.finding_names(), ["dns-loop"]);
    host.put("/etc/resolv.conf", "nameserver 192.0.2.53\n");

    // A file of arguments that was edited later than a start may do by itself.
    sleep(Duration::from_secs(11));
    let args = "/var/snap/microk8s/current/args/kube-proxy";
    let text = host.get(args).unwrap();
    host.put(args, &format!("{text}--v=3\n--v=4\n"));
    assert_eq!(host.finding_names(), ["args-twice", "stale-process"]);
    host.put(args, &format!("{text}--v=4\n"));
    assert_eq!(host.finding_names(), ["stale-process"]);
    apply_fix(&host);
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_and_fixes_userspace_proxy_mode() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s-1.13_1");
    wait_until("kube-proxy answers", || {
        let asked = ["curl", "--silent", "http://127.0.0.1:10249/proxyMode"];
        host.run(&asked).code == Some(0)
    });
    assert_eq!(host.finding_names(), ["forwarding-off", "proxy-userspace"]);
    apply_fix(&host);
    assert_eq!(host.finding_names(), [""; 0]);
}

#[test]
fn doctor_finds_unheld_refresh_until_cloud_vm_is_applied() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.run_ok(&[
        "snap",
        "install",
        "microk8s",
        "--channel=1.32/stable",
        "--classic",
    ]);
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    assert_eq!(host.finding_names(), ["forwarding-off", "refresh-not-held"]);
    host.put(
        "/root/cloud-vm.kdl",
        include_str!("../../../examples/hosts/cloud-vm.kdl"),
    );
    host.stead_exits(&["apply", "--yes", "/root/cloud-vm.kdl"], 0);
    for server in ["1.1.1.1", "8.8.8.8"] {
        host.start_name_server(server);
    }
    host.serve_cluster_dns("1.1.1.1");
    assert_eq!(host.finding_names(), [""; 0]);
}
