//! `stead doctor` on booted hosts: each finding where its cause is, made by those who really make it, and none elsewhere.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{thread::sleep, time::Duration};

use e2e::{Host, Image, Inside, Said, difference, standin, wait_until};

fn install(host: &Host, file: &str) {
    let file = format!("{}/{file}.snap", standin::FOLDER);
    host.must(&["snap", "install", "--dangerous", "--classic", &file]);
}

/// Applies the spec that `stead doctor --show-fix` shows.
fn mend(host: &Host) -> Said {
    let said = host.stead_ends(&["doctor", "--show-fix"], 3);
    let (spec, plan) = said.out.split_once("\n}\n").unwrap();
    assert!(plan.contains("Plan: "), "{plan}");
    host.put("/root/mend.kdl", &format!("{spec}\n}}\n"));
    host.stead_ends(&["apply", "--yes", "/root/mend.kdl"], 0)
}

#[test]
fn on_plain_hosts_and_beside_docker_nothing_is_found_and_nothing_changed() {
    for image in [Image::Debian12, Image::Debian13] {
        let host = Host::boot(image);
        let start = host.fingerprint();
        assert_eq!(host.found(), [""; 0]);
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
        host.must(&["systemctl", "start", "docker.service"]);
        assert_eq!(host.found(), [""; 0]);
    }
}

#[test]
fn each_thing_that_goes_wrong_beside_microk8s_is_found_where_its_cause_is() {
    let mut host = Host::boot(Image::Debian13);
    install(&host, "microk8s_1");
    host.must(&["microk8s", "status", "--wait-ready"]);
    // There is no network of pods here, for which the real one turns forwarding on.
    assert_eq!(host.found(), ["forwarding-off"]);
    // The real dockerd, at boot.
    host.must(&["systemctl", "enable", "--quiet", "docker.service"]);
    assert_eq!(host.found(), ["docker-forwarding", "forwarding-off"]);
    host.reboot();
    assert_eq!(host.found(), ["docker-forwarding", "forward-drop"]);
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("## What is wrong here?").unwrap();
    let (_, shown) = section.split_once("```text,seen=").unwrap();
    let (_, shown) = shown.split_once('\n').unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert_eq!(host.stead_ends(&["doctor"], 3).out, shown);
    let start = host.settled();
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
    mend(&host);
    assert_eq!(host.found(), [""; 0]);
    host.reboot();
    wait_until("the hook has mended it", || host.found().is_empty());

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
        host.must(&["bash", "-ec", cause]);
        assert_eq!(host.found(), [expected], "{cause}");
        host.must(&["bash", "-ec", cure]);
        assert_eq!(host.found(), [""; 0], "{cure}");
    }

    // A server on this host that pods cannot reach: named in the addon, and in what the host itself uses.
    host.answer("192.0.2.53");
    host.must(&["microk8s", "enable", "dns", "127.0.0.53"]);
    host.answer_for_cluster("192.0.2.53");
    assert_eq!(host.found(), ["dns-loop"]);
    let edit = "microk8s kubectl get configmap coredns -n kube-system -o yaml | sed s:127.0.0.53:/etc/resolv.conf: | microk8s kubectl replace -f -";
    host.must(&["bash", "-ec", edit]);
    host.put("/etc/resolv.conf", "nameserver 192.0.2.53\n");
    assert_eq!(host.found(), [""; 0]);
    host.put("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    assert_eq!(host.found(), ["dns-loop"]);
    host.put("/etc/resolv.conf", "nameserver 192.0.2.53\n");

    // A file of arguments that was edited later than a start may do by itself.
    sleep(Duration::from_secs(11));
    let args = "/var/snap/microk8s/current/args/kube-proxy";
    let text = host.get(args).unwrap();
    host.put(args, &format!("{text}--v=3\n--v=4\n"));
    assert_eq!(host.found(), ["args-twice", "stale-process"]);
    host.put(args, &format!("{text}--v=4\n"));
    assert_eq!(host.found(), ["stale-process"]);
    mend(&host);
    assert_eq!(host.found(), [""; 0]);
}

#[test]
fn the_slow_mode_of_the_old_release_is_found_and_mended() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s-1.13_1");
    wait_until("kube-proxy answers", || {
        let asked = ["curl", "--silent", "http://127.0.0.1:10249/proxyMode"];
        host.run(&asked).code == Some(0)
    });
    assert_eq!(host.found(), ["forwarding-off", "proxy-userspace"]);
    mend(&host);
    assert_eq!(host.found(), [""; 0]);
}

#[test]
fn a_snap_that_refreshes_itself_is_found_and_the_described_host_is_healthy() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.must(&[
        "snap",
        "install",
        "microk8s",
        "--channel=1.32/stable",
        "--classic",
    ]);
    host.must(&["microk8s", "status", "--wait-ready"]);
    assert_eq!(host.found(), ["forwarding-off", "refresh-not-held"]);
    host.put(
        "/root/cloud-vm.kdl",
        include_str!("../../../examples/hosts/cloud-vm.kdl"),
    );
    host.stead_ends(&["apply", "--yes", "/root/cloud-vm.kdl"], 0);
    for server in ["1.1.1.1", "8.8.8.8"] {
        host.answer(server);
    }
    host.answer_for_cluster("1.1.1.1");
    assert_eq!(host.found(), [""; 0]);
}
