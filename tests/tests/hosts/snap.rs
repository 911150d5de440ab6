//! The kind `snap` on booted hosts: a store with an older snapd, files and holds with a newer one.

use e2e::{CommandOutput, Fingerprint, Host, Image, TestEnv, difference, standin, wait_until};

const SPEC: &str = "/root/host.kdl";

fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Applies, and expects that nothing is left to do.
fn apply_and_check(host: &Host, resources: &str) -> CommandOutput {
    write_spec(host, resources);
    let said = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let again = host.stead(&["plan", SPEC]);
    assert_eq!(again.code, Some(0), "{again:?}");
    said
}

fn plan(host: &Host, resources: &str) -> CommandOutput {
    write_spec(host, resources);
    host.stead(&["plan", SPEC])
}

/// Looks at the host, with the group of MicroK8s' arguments set.
///
/// MicroK8s' services edit these files while its hook `configure` gives them their group, and `sed -i` may put the group
/// back that it has seen before. Which of both comes last is chance, at an install and at a revert alike.
fn settled_fingerprint(host: &Host) -> Fingerprint {
    const ARGS: &str = "/var/snap/microk8s/current/args";
    if host.run(&["test", "-e", ARGS]).code == Some(0) {
        host.settled_fingerprint();
        host.run_ok(&["chgrp", "-R", "microk8s", ARGS]);
    }
    host.fingerprint()
}

/// What stays of MicroK8s when it is removed, whoever removes it: its install hook makes a group, and its kube-proxy, if it came to
/// that, rules and settings.
const REMNANTS: [&str; 8] = [
    "/etc/group",
    "/etc/gshadow",
    "iptables-nft-save ",
    "ip6tables-nft-save ",
    "iptables-legacy-save ",
    "sysctl net.ipv4.conf.all.route_localnet",
    "sysctl net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
];

/// Waits for the rules by which kube-proxy leads to the API server: its last, and it takes its time.
fn wait_for_proxy_rules(host: &Host) {
    wait_until("kube-proxy has made its rules", || {
        let saved = host.run_ok(&["iptables-nft-save", "-t", "nat"]).out;
        saved.contains("-j KUBE-SEP-")
    });
}

fn assert_same(host: &Host, before: &Fingerprint, but: &[&str]) {
    let mut differences = difference(before, &settled_fingerprint(host));
    differences.retain(|line| !but.iter().any(|other| line.starts_with(other)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn snap_list(host: &Host) -> String {
    host.run_ok(&["snap", "list", "--all"]).out
}

#[test]
fn store_snap_is_installed_refreshed_and_undone() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    let bare = host.fingerprint();
    let one = "snap \"microk8s\" channel=\"1.32/stable\" classic=#true hold=\"forever\"";
    let said = plan(&host, one);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains(" to download.\n"), "{}", said.out);
    // This snapd cannot hold one snap, nor for ever, and the plan says so.
    let hold = "hold     \"all snaps, as long as this snapd can\"";
    assert!(said.out.contains(hold), "{}", said.out);
    let said = apply_and_check(&host, one);
    assert!(said.err.contains("downloading microk8s: "), "{}", said.err);
    assert!(
        snap_list(&host).contains("1.32/stable"),
        "{}",
        snap_list(&host)
    );
    let said = host.run_ok(&["snap", "get", "system", "refresh.hold"]).out;
    assert!(said.starts_with("20"), "{said}");
    // Inside that window a plan is empty; when it has passed, it is not, nor in the two hours for which snapd holds what is new.
    for (end, code) in [("-9 days", 3), ("+2 hours", 3), ("+9 days", 0)] {
        let end = host.run_ok(&["date", "--utc", "--date", end, "+%Y-%m-%dT%H:%M:%SZ"]);
        let hold = format!("refresh.hold={}", end.out.trim());
        host.run_ok(&["snap", "set", "system", &hold]);
        let said = plan(&host, one);
        assert_eq!(said.code, Some(code), "{said:?}");
    }
    wait_for_proxy_rules(&host);
    let first = settled_fingerprint(&host);

    host.publish("microk8s", "microk8s_2", 2);
    let two = one.replace("1.32", "1.33");
    apply_and_check(&host, &two);
    assert!(snap_list(&host).contains("v1.33.5"), "{}", snap_list(&host));
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let there = snap_list(&host);
    assert!(
        there.contains("1.32/stable") && !there.contains("v1.33.5"),
        "{there}"
    );
    wait_for_proxy_rules(&host);
    assert_same(&host, &first, &[]);

    let said = host.stead(&["undo", "--yes", "1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        !snap_list(&host).contains("microk8s"),
        "{}",
        snap_list(&host)
    );
    assert_same(&host, &bare, &REMNANTS);
    // All snaps are held by somebody until then, and still are. What stead itself set goes with the snap that it is for.
    let hold = ["snap", "get", "system", "refresh.hold"];
    assert!(host.run_ok(&hold).out.starts_with("20"));
    host.run_ok(&["snap", "unset", "system", "refresh.hold"]);
    apply_and_check(&host, one);
    assert!(host.run_ok(&hold).out.starts_with("20"));
    host.stead_exits(&["undo", "--yes", "5"], 0);
    assert_ne!(
        host.run(&hold).code,
        Some(0),
        "nobody holds anything any more"
    );
}

/// Expects that a plan and an apply say why they do nothing.
fn assert_refused(host: &Host, resources: &str, code: i32, fault: &str) {
    write_spec(host, resources);
    for command in [&["plan", SPEC][..], &["apply", "--yes", SPEC]] {
        let said = host.stead(command);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.err.contains(fault), "{}", said.err);
    }
}

#[test]
fn unavailable_snap_is_rejected_before_any_change() {
    const MICROK8S: &str = "snap \"microk8s\" channel=\"1.32/stable\" classic=#true";
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    let about = "name: tiny\nversion: '1'\nsummary: tiny\ndescription: tiny\nbase: core22\n";
    for revision in [1, 2] {
        let file = format!("tiny_{revision}");
        let about = about.replace("'1'", &format!("'{revision}'"));
        host.pack(&file, "core22", &[("meta/snap.yaml", &about)]);
    }
    host.publish("tiny", "tiny_1", 1);
    host.run_ok(&["snap", "install", "tiny", "--channel=1.0/stable"]);
    host.publish("tiny", "tiny_2", 2);
    let bare = host.fingerprint();

    for (resources, fault) in [
        ("snap \"none-such\"", "the store has no snap `none-such`"),
        (
            "snap \"microk8s\" revision=\"99\" classic=#true",
            "the store has no revision 99 of `microk8s`",
        ),
        (
            "snap \"tiny\" channel=\"2.0/stable\" revision=\"1\"",
            "the channel `2.0/stable` has revision 2, and `revision` is another one",
        ),
    ] {
        assert_refused(&host, resources, 2, fault);
    }
    // This store describes no snaps, so that only snapd can tell.
    write_spec(&host, "snap \"microk8s\"");
    let said = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("classic=#true"), "{}", said.err);

    assert_same(&host, &bare, &REMNANTS[..2]);

    // No route to the store. snapd tries again for half a minute.
    for table in ["local", "main"] {
        host.run_ok(&["ip", "route", "flush", "table", table]);
    }
    let said = plan(&host, MICROK8S);
    assert_eq!(said.code, Some(2), "{said:?}");
    let fault = "the store cannot be asked about `microk8s`";
    assert!(said.err.contains(fault), "{}", said.err);
    assert_same(&host, &bare, &REMNANTS[..2]);

    let units = ["snapd.socket", "snapd.service"];
    host.run_ok(&[&["systemctl", "mask", "--now"], &units[..]].concat());
    let masked = host.fingerprint();
    assert_refused(&host, MICROK8S, 1, "snapd is masked on this host");
    assert_same(&host, &masked, &REMNANTS[..2]);
    host.run_ok(&[&["systemctl", "unmask"], &units[..]].concat());
    host.run_ok(&["dpkg", "--purge", "--force-depends", "snapd"]);
    let without = host.fingerprint();
    assert_refused(&host, MICROK8S, 2, "this host has no snapd");
    assert_eq!(difference(&without, &host.fingerprint()), [""; 0]);
}

#[test]
fn snap_file_is_installed_held_and_undone() {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    let wish =
        format!("snap \"microk8s\" file={file:?} dangerous=#true classic=#true hold=\"forever\"");
    let bare = host.fingerprint();
    apply_and_check(&host, &wish);
    assert!(snap_list(&host).contains("v1.32.9"), "{}", snap_list(&host));
    apply_and_check(&host, &wish.replace("microk8s_1", "microk8s_2"));
    assert!(snap_list(&host).contains("v1.33.5"), "{}", snap_list(&host));
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    apply_and_check(&host, &wish);
    let said = host.stead(&["undo", "--yes", "1"]);
    assert_eq!(said.code, Some(2), "its file is not kept: {said:?}");
    assert!(said.err.contains("--allow-irreversible"), "{said:?}");
    let said = host.stead(&["undo", "--yes", "--allow-irreversible", "1"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_same(&host, &bare, &REMNANTS[..2]);

    host.put("/root/no.snap", "text");
    for (resources, fault) in [
        (
            "snap \"microk8s\" file=\"no.snap\" dangerous=#true",
            "is not a snap",
        ),
        ("snap \"microk8s\" file=\"none.snap\"", "there is no file"),
        (
            &*wish.replace(" dangerous=#true", ""),
            "there are no assertions beside",
        ),
        (
            "snap \"microk8s\" channel=\"1.32/stable\"",
            "the store cannot be asked",
        ),
    ] {
        assert_refused(&host, resources, 2, fault);
    }
    assert_same(&host, &bare, &REMNANTS[..2]);
}

#[test]
fn undo_restores_a_removed_snap_with_its_data() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    apply_and_check(
        &host,
        "snap \"microk8s\" channel=\"1.32/stable\" classic=#true",
    );
    let (own, kept) = (
        "/var/snap/microk8s/current/mine",
        "/var/snap/microk8s/common/mine",
    );
    host.put(own, "of this revision");
    host.put(kept, "of all revisions");
    apply_and_check(&host, "snap \"microk8s\" absent=#true");
    assert!(
        !snap_list(&host).contains("microk8s"),
        "{}",
        snap_list(&host)
    );
    assert_eq!(host.get(kept), None);
    let said = host.stead(&["undo", "--yes", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        snap_list(&host).contains("1.32/stable"),
        "{}",
        snap_list(&host)
    );
    assert_eq!(host.get(own).as_deref(), Some("of this revision"));
    assert_eq!(host.get(kept).as_deref(), Some("of all revisions"));
    let sets = host.run_ok(&["snap", "saved"]);
    assert!(!sets.out.contains("microk8s"), "{sets:?}");
}
