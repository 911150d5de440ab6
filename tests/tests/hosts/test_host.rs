//! Test hosts themselves: they boot, reboot and lose their power as hosts do, and leave nothing on the machine.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at the machine with its own eyes and stops at the first surprise"
)]

use std::{collections::BTreeSet, fs, process::Command};

use e2e::{Host, Image, TestEnv, difference, wait_for, wait_until};

#[test]
fn reboot_keeps_only_the_disk() {
    let mut host = Host::boot(Image::Debian13);
    let before = host.get("/proc/sys/kernel/random/boot_id");
    host.put("/srv/kept", "on the disk");
    host.put("/run/lost", "in memory");
    host.run_ok(&["sysctl", "-w", "net.ipv4.ip_forward=1"]);
    let pid = host.run_ok(&["readlink", "/proc/1/ns/net"]).out;
    host.reboot();
    assert_eq!(host.get("/srv/kept").as_deref(), Some("on the disk"));
    assert_eq!(host.get("/run/lost"), None);
    assert_eq!(
        host.get("/proc/sys/net/ipv4/ip_forward").as_deref(),
        Some("0\n")
    );
    assert_ne!(host.run_ok(&["readlink", "/proc/1/ns/net"]).out, pid);
    assert!(before.is_some());
}

#[test]
fn power_cut_loses_unsynced_data() {
    let mut host = Host::boot(Image::Debian13);
    host.run_ok(&["sync"]);
    host.run_ok(&[
        "dd",
        "if=/dev/zero",
        "of=/srv/synced",
        "bs=1k",
        "count=1",
        "conv=fsync",
        "status=none",
    ]);
    host.run_ok(&["sync", "/srv"]);
    host.run_ok(&[
        "dd",
        "if=/dev/zero",
        "of=/srv/careless",
        "bs=1k",
        "count=1",
        "status=none",
    ]);
    host.run_ok(&["test", "-s", "/srv/careless"]);
    host.power_cut();
    host.run_ok(&["test", "-s", "/srv/synced"]);
    let careless = host.run(&["test", "-s", "/srv/careless"]);
    assert_eq!(careless.code, Some(1), "nobody synced it");
}

#[test]
fn concurrent_hosts_are_isolated() {
    let one = Host::boot(Image::Debian13);
    let other = Host::boot(Image::Debian12);
    one.run_ok(&["iptables-nft", "-P", "FORWARD", "DROP"]);
    one.run_ok(&["sysctl", "-w", "net.ipv4.ip_forward=1"]);
    one.put("/srv/mine", "");
    let there = difference(&one.fingerprint(), &other.fingerprint());
    let there = there.join("\n");
    for key in [
        "/srv/mine",
        "sysctl net.ipv4.ip_forward",
        "iptables-nft-save filter",
    ] {
        assert!(there.contains(&format!("{key}: Some(")), "{key}: {there}");
    }
    assert_eq!(other.get("/srv/mine"), None);
    assert_eq!(
        other.run_ok(&["iptables-nft", "-S", "FORWARD"]).out,
        "-P FORWARD ACCEPT\n"
    );
}

#[test]
fn fingerprint_changes_only_with_the_host() {
    let host = Host::boot(Image::Debian13);
    let before = host.fingerprint();
    assert_eq!(
        difference(&before, &host.fingerprint()),
        Vec::<String>::new()
    );
    for (key, argv) in [
        ("/etc/motd.new", &["touch", "/etc/motd.new"][..]),
        (
            "sysctl net.ipv4.ip_forward",
            &["sysctl", "-w", "net.ipv4.ip_forward=1"],
        ),
        (
            "enabled ssh.service",
            &["systemctl", "disable", "--quiet", "ssh.service"],
        ),
        ("active ssh.service", &["systemctl", "stop", "ssh.service"]),
        (
            "ip6tables-legacy-save filter",
            &["ip6tables-legacy", "-P", "FORWARD", "DROP"],
        ),
        (
            "iptables-nft-save filter",
            &["iptables-nft", "-A", "FORWARD", "-j", "DROP"],
        ),
        ("snap core22", &["snap", "remove", "core22"]),
    ] {
        let before = host.fingerprint();
        host.run_ok(argv);
        let changed = difference(&before, &host.fingerprint());
        assert!(
            changed.iter().any(|line| line.starts_with(key)),
            "{argv:?}: {changed:?}"
        );
    }
}

/// What a machine has of mounts, loop devices, cgroups, network namespaces and processes of test hosts.
fn host_remnants() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().map(|line| format!("mount {line}")));
    for device in fs::read_dir("/sys/block").unwrap() {
        let backing = device.unwrap().path().join("loop/backing_file");
        found.extend(fs::read_to_string(backing).map(|path| format!("loop {path}")));
    }
    for argv in [
        &["find", "/sys/fs/cgroup", "-type", "d", "-name", "stead-*"][..],
        &[
            "lsns",
            "--noheadings",
            "--output",
            "TYPE,NS",
            "--type",
            "net",
        ],
        &["pgrep", "--list-full", "systemd-nspawn"],
        &["ip", "-oneline", "link"],
    ] {
        let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        found.extend(output.lines().map(|line| format!("{} {line}", argv[0])));
    }
    found
}

#[test]
fn dropped_host_leaves_nothing_on_the_machine() {
    let before = host_remnants();
    let host = Host::boot(Image::Debian13);
    let during = host_remnants();
    assert!(
        during.difference(&before).count() >= 4,
        "a running host is seen: {during:?}"
    );
    drop(host);
    wait_for(|| {
        let after = host_remnants();
        let mut left = after
            .difference(&before)
            .filter(|trace| during.contains(*trace));
        left.next()
            .map_or(Ok(()), |trace| Err(format!("left behind: {trace}")))
    });
}

#[test]
fn host_of_a_killed_test_is_removed() {
    let before = host_remnants();
    let mut shell = Command::new(e2e::program("test-host"))
        .args(["shell", "debian-13"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let of_it = format!("stead-{}-0", shell.id());
    let is_there = || {
        host_remnants()
            .iter()
            .any(|trace| trace.contains(&of_it) && trace.starts_with("find"))
    };
    wait_until("it boots", is_there);
    shell.kill().unwrap();
    shell.wait().unwrap();
    let running = |trace: &&String| trace.contains(&of_it) && !trace.starts_with("find");
    wait_for(|| {
        let now = host_remnants();
        let left = now.difference(&before).find(running);
        left.map_or(Ok(()), |trace| Err(format!("left behind: {trace}")))
    });
    // The directory and the cgroup are removed by whoever boots next.
    drop(Host::boot(Image::Debian13));
    assert!(!is_there());
}
