//! Why a host differs that had converged, each cause made by the one who really does it.

use e2e::{
    Host, Image, TestEnv,
    drift::{SPEC, apply, causes, check_causes, short_cause, write_spec},
    standin, wait_for, wait_until,
};

/// Without a hook, so that what differs stays so until somebody looks.
const FORWARD: &str = "iptables-policy \"filter/FORWARD\" \"ACCEPT\" persist=#false";

/// Where this is, MicroK8s takes no argument away.
const NO_SANITISATION: &str = "/var/snap/microk8s/current/var/lock/no-arg-sanitisation";
const KUBELET: &str = "/var/snap/microk8s/current/args/kubelet";

#[test]
fn docker_is_the_cause_only_after_its_start() {
    let host = Host::boot(Image::Debian13);
    let wanted = format!("sysctl \"net.ipv4.ip_forward\" \"0\"\n{FORWARD}");
    apply(&host, &wanted);
    host.run_ok(&["systemctl", "start", "docker.service"]);
    let docker = "Docker since 1: docker.service started";
    let both = |cause| {
        [
            ("iptables-policy:filter/FORWARD", cause),
            ("sysctl:net.ipv4.ip_forward", cause),
        ]
    };
    check_causes(&host, &both(docker));
    let said = host.stead_exits(&["plan", SPEC], 3).out;
    let because = "from /root/host.kdl:3; changed by Docker since run 1 (docker.service started 20";
    assert!(said.contains(because), "{said}");

    // The same by hand: Docker runs, and did not do it.
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    let by_hand = || {
        host.run_ok(&["iptables", "-P", "FORWARD", "DROP"]);
        host.run_ok(&["sysctl", "-w", "net.ipv4.ip_forward=1"]);
    };
    by_hand();
    check_causes(&host, &both("unknown 2"));

    // A Docker that may not do it did not do it.
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.run_ok(&["systemctl", "stop", "docker.service", "docker.socket"]);
    host.put("/etc/docker/daemon.json", "{\"iptables\": false}\n");
    host.run_ok(&["systemctl", "start", "docker.service"]);
    by_hand();
    check_causes(&host, &both("unknown 3"));
}

#[test]
fn restore_by_hook_records_its_reason() {
    let host = Host::boot(Image::Debian13);
    apply(&host, "iptables-policy \"filter/FORWARD\" \"ACCEPT\"");
    host.run_ok(&["systemctl", "start", "docker.service"]);
    wait_for(|| {
        let said = host.stead(&["history"]);
        said.out
            .lines()
            .count()
            .eq(&2)
            .then_some(())
            .ok_or(said.out)
    });
    let said = wait_for(|| {
        let said = host.stead(&["show", "2"]);
        said.out
            .contains("done")
            .then_some(said.out.clone())
            .ok_or(said.out)
    });
    let because = "changed by Docker since run 1 (docker.service started 20";
    assert!(said.contains(because), "{said}");
    let history = host.run_ok(&[&host.stead_path(), "history"]).out;
    let newest = history.lines().last().unwrap_or_default();
    assert!(newest.ends_with("(caused by Docker)"), "{history}");
}

#[test]
fn file_causes_distinguish_drift_spec_and_reboot() {
    let mut host = Host::boot(Image::Debian13);
    let file =
        |path: &str, text: &str| format!("file {path:?} {{ content {text:?}; mode \"0644\" }}");
    let motd = |text| file("/etc/motd", text);
    let (one, two) = (motd("one\n"), motd("two\n"));
    write_spec(&host, &one);
    check_causes(&host, &[("file:/etc/motd", "none")]);
    apply(&host, &one);

    let by_hand = |text| host.run_ok(&["sh", "-c", &format!("printf {text} >/etc/motd")]);
    by_hand("other");
    let changed = "changed since 1: /etc/motd changed";
    check_causes(&host, &[("file:/etc/motd", changed)]);
    // An older time says nothing of when it came there.
    host.run_ok(&["touch", "--date=2020-01-01", "/etc/motd"]);
    let put = "changed since 1: /etc/motd was created, or its owner or mode changed,";
    check_causes(&host, &[("file:/etc/motd", put)]);
    host.run_ok(&["rm", "/etc/motd"]);
    check_causes(&host, &[("file:/etc/motd", "unknown 1")]);
    by_hand("one\\\\n");
    host.run_ok(&["chmod", "0600", "/etc/motd"]);
    check_causes(&host, &[("file:/etc/motd", changed)]);

    apply(&host, &one);
    write_spec(&host, &format!("{two}\n{}", file("/etc/new", "")));
    let of_spec = [
        ("file:/etc/motd", "spec 2"),
        ("file:/etc/new", "new since 2"),
    ];
    check_causes(&host, &of_spec);
    // Without root nobody can read the runs.
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    host.run_ok(&["chmod", "0755", "/root"]);
    let stead = host.stead_path();
    let said = host.run(&[&nobody[..], &[&stead, "plan", "--json", SPEC]].concat());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(!said.out.contains("\"cause\""), "{}", said.out);

    let volatile = format!("{two}\n{}", file("/run/new", "x\n"));
    apply(&host, &volatile);
    host.run_ok(&["rm", "/run/new"]);
    check_causes(&host, &[("file:/run/new", "unknown 3")]);
    apply(&host, &volatile);
    host.reboot();
    check_causes(&host, &[("file:/run/new", "reboot 4")]);
}

#[test]
fn kernel_state_is_attributed_to_a_reboot_only() {
    let mut host = Host::boot(Image::Debian13);
    let wanted = "sysctl \"net.ipv4.tcp_fin_timeout\" \"42\" persist=#false
        sysctl \"net.ipv4.tcp_retries2\" \"9\"
        iptables-policy \"filter/OUTPUT\" \"ACCEPT\" persist=#false
        iptables-policy \"filter/FORWARD\" \"DROP\" persist=#false
        iptables-chain \"filter/MINE\" persist=#false
        iptables-rule \"mine\" chain=\"MINE\" persist=#false { jump \"ACCEPT\" }";
    apply(&host, wanted);
    let fin = "sysctl:net.ipv4.tcp_fin_timeout";
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_fin_timeout=60"]);
    check_causes(&host, &[(fin, "unknown 1")]);
    apply(&host, wanted);
    host.reboot();
    // What nobody forgets is not lost.
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_retries2=8"]);
    host.run_ok(&["iptables", "-P", "OUTPUT", "DROP"]);
    check_causes(
        &host,
        &[
            ("iptables-chain:filter/MINE", "reboot 2"),
            ("iptables-policy:filter/FORWARD", "reboot 2"),
            ("iptables-policy:filter/OUTPUT", "unknown 2"),
            ("iptables-rule:mine", "reboot 2"),
            (fin, "reboot 2"),
            ("sysctl:net.ipv4.tcp_retries2", "unknown 2"),
        ],
    );
    // No value that a boot leaves.
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_fin_timeout=43"]);
    assert_eq!(short_cause(&causes(&host)[fin]), "unknown 2");

    // The file for boot.
    apply(&host, wanted);
    let ours = "/etc/sysctl.d/99-zz-stead.conf";
    host.run_ok(&["sed", "-i", "s/retries2 = 9/retries2 = 7/", ours]);
    let changed = format!("changed since 3: {ours} changed");
    check_causes(&host, &[("sysctl:net.ipv4.tcp_retries2", &changed)]);
}

#[test]
fn netfilter_persistent_is_known_by_its_saved_rules() {
    let host = Host::boot(Image::Debian13);
    let wanted = format!(
        "{FORWARD}\niptables-policy \"filter/INPUT\" \"ACCEPT\" persist=#false
        iptables-rule \"mine\" chain=\"INPUT\" persist=#false {{ jump \"ACCEPT\" }}"
    );
    let saved = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    host.put("/etc/iptables/rules.v4", saved);
    apply(&host, &wanted);
    host.run_ok(&["iptables", "-P", "FORWARD", "DROP"]);
    let policy = "iptables-policy:filter/FORWARD";
    check_causes(&host, &[(policy, "unknown 1")]);
    host.run_ok(&["systemctl", "restart", "netfilter-persistent.service"]);
    let restored = "netfilter-persistent since 1: netfilter-persistent.service started";
    check_causes(
        &host,
        &[(policy, restored), ("iptables-rule:mine", restored)],
    );
    // What is not in the file comes from somebody else.
    host.run_ok(&["iptables", "-P", "INPUT", "DROP"]);
    let causes = causes(&host);
    assert_eq!(
        short_cause(&causes["iptables-policy:filter/INPUT"]),
        "unknown 1"
    );
    // What would become of it at a boot is said.
    let said = host.stead_exits(&["plan", SPEC], 3).out;
    let remark = "note: iptables-policy:filter/FORWARD: after a reboot: DROP, set by netfilter-persistent.service";
    assert!(said.contains(remark), "{said}");
    assert!(
        !said.contains("note: iptables-policy:filter/INPUT"),
        "{said}"
    );
}

#[test]
fn person_is_known_by_the_sudo_log() {
    let host = Host::boot(Image::Debian13);
    host.run_ok(&["useradd", "--create-home", "alice"]);
    // sudo looks for the name of the host, and nobody answers here.
    let name = host.run_ok(&["uname", "-n"]).out;
    host.put("/etc/hosts", &format!("127.0.0.1 localhost {name}"));
    host.put("/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n");
    let wanted = format!(
        "file \"/etc/motd\" {{ content \"one\\n\" }}
        sysctl \"net.ipv4.tcp_retries2\" \"9\"
        {FORWARD}"
    );
    apply(&host, &wanted);
    let sudo = |command: &[&str]| {
        host.run_ok(&[&["runuser", "-u", "alice", "--", "sudo"], command].concat());
    };
    // The journal asks /proc who has spoken, and one that has ended meanwhile is nobody: then nobody can be known.
    let times = |command: &[&str]| {
        host.run_ok(&["journalctl", "--sync"]);
        let of_sudo = [
            "journalctl",
            "--quiet",
            "--output=cat",
            "_EXE=/usr/bin/sudo",
        ];
        let said = host.run_ok(&of_sudo).out;
        let words = format!("/{}", command.join(" "));
        let is_it = |line: &&str| line.contains("COMMAND=") && line.ends_with(&words);
        said.lines().filter(is_it).count()
    };
    let noted = |command: &[&str]| {
        wait_until("the journal knows that it was sudo", || {
            let before = times(command);
            sudo(command);
            times(command) > before
        });
    };
    noted(&["cp", "/etc/hostname", "/etc/motd"]);
    noted(&["sysctl", "-w", "net.ipv4.tcp_retries2=8"]);
    noted(&["iptables", "-P", "FORWARD", "DROP"]);
    let (motd, policy) = ("file:/etc/motd", "iptables-policy:filter/FORWARD");
    let retries = "sysctl:net.ipv4.tcp_retries2";
    let alice = |command: &str| format!("alice by hand since 1: sudo {command},");
    let by_iptables = alice("/usr/sbin/iptables -P FORWARD DROP");
    let by_sysctl = alice("/usr/sbin/sysctl -w net.ipv4.tcp_retries2=8");
    let by_cp = alice("/usr/bin/cp /etc/hostname /etc/motd");
    let expected = [
        (motd, by_cp.as_str()),
        (policy, &by_iptables),
        (retries, &by_sysctl),
    ];
    check_causes(&host, &expected);

    // Somebody else, while alice only looks.
    sudo(&["cat", "/etc/motd"]);
    host.run_ok(&["sh", "-c", "echo other >/etc/motd"]);
    host.run_ok(&["sysctl", "-w", "net.ipv4.tcp_retries2=7"]);
    let changed = "changed since 1: /etc/motd changed";
    let expected = [
        (motd, changed),
        (policy, &by_iptables),
        (retries, "unknown 1"),
    ];
    check_causes(&host, &expected);
}

#[test]
fn sysctl_overridden_at_boot_names_the_file() {
    let host = Host::boot(Image::Debian13);
    host.put("/etc/sysctl.d/10-other.conf", "net.ipv4.tcp_retries2 = 7\n");
    write_spec(
        &host,
        "sysctl \"net.ipv4.tcp_retries2\" \"9\" persist=#false",
    );
    let said = host.stead_exits(&["plan", SPEC], 3).out;
    let remark =
        "note: sysctl:net.ipv4.tcp_retries2: after a reboot: 7, set by /etc/sysctl.d/10-other.conf";
    assert!(said.contains(remark), "{said}");
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.run_ok(&["systemctl", "restart", "systemd-sysctl.service"]);
    let restored = "systemd-sysctl since 1: systemd-sysctl.service started";
    check_causes(&host, &[("sysctl:net.ipv4.tcp_retries2", restored)]);
}

#[test]
fn snap_refresh_and_revert_are_distinguished() {
    let host = Host::boot(Image::Debian12);
    let about = "name: tiny\nversion: '1'\nsummary: tiny\ndescription: tiny\nbase: core22\n";
    for revision in [1, 2] {
        let about = about.replace("'1'", &format!("'{revision}'"));
        let file = format!("tiny_{revision}");
        host.pack(&file, "core22", &[("meta/snap.yaml", &about)]);
    }
    host.publish("tiny", "tiny_1", 1);
    let tiny = |revision: u8| format!("snap \"tiny\" revision=\"{revision}\"");
    apply(&host, &tiny(1));
    host.publish("tiny", "tiny_2", 2);
    host.run_ok(&["snap", "refresh", "tiny"]);
    let fact = |what: &str, run: u8| {
        let cause = &causes(&host)["snap:tiny"];
        let expected = format!("a {what} of the snap since {run}: change ");
        assert!(short_cause(cause).starts_with(&expected), "{cause}");
    };
    fact("refresh", 1);
    // What is there is what is asked for now; no run was needed for that, so a run of something else follows.
    let both = format!("{}\n{FORWARD}", tiny(2));
    write_spec(&host, &both);
    host.run_ok(&["iptables", "-P", "FORWARD", "DROP"]);
    apply(&host, &both);
    host.run_ok(&["snap", "revert", "tiny"]);
    fact("revert", 2);
}

#[test]
fn microk8s_is_known_by_removed_flags_and_revisions() {
    let host = Host::boot(Image::Debian13);
    let install = |file: &str| {
        let file = format!("{}/{file}.snap", standin::SNAPS_DIR);
        host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    };
    install("microk8s_1");
    for reason in ["docker", "snap-refresh", "snap.microk8s.daemon-kubelite"] {
        let hook = format!("stead-restore@{reason}.service");
        host.run_ok(&["systemctl", "mask", "--runtime", &hook]);
    }
    host.run_ok(&["touch", NO_SANITISATION]);
    apply(&host, "kube-args \"kubelet\" { network-plugin \"cni\" }");

    // It may take that away, and nobody has started it.
    host.run_ok(&["sed", "-i", "/network-plugin/d", KUBELET]);
    let args = "kube-args:kubelet";
    let restart = ("restart:microk8s/kubernetes", "follows kube-args:kubelet");
    let args_path = "/var/snap/microk8s/x1/args/kubelet";
    let changed = format!("changed since 1: {args_path} changed");
    check_causes(&host, &[(args, &changed), restart]);
    host.stead_exits(&["apply", "--yes", SPEC], 0);

    host.run_ok(&["rm", NO_SANITISATION]);
    host.run_ok(&["snap", "restart", "microk8s.daemon-kubelite"]);
    wait_for(|| {
        let text = host.get(KUBELET).unwrap_or_default();
        (!text.contains("network-plugin")).then_some(()).ok_or(text)
    });
    let unit = "snap.microk8s.daemon-kubelite.service";
    let taken = format!("MicroK8s since 2: {unit} started");
    check_causes(&host, &[(args, &taken), restart]);

    // The older revision never had what was asked for in the newer one.
    install("microk8s_2");
    apply(
        &host,
        "kube-args \"kube-proxy\" { proxy-mode \"iptables\" }",
    );
    host.run_ok(&["snap", "revert", "microk8s"]);
    let cause = &causes(&host)["kube-args:kube-proxy"];
    let expected = "a revert of the snap since 3: change ";
    assert!(short_cause(cause).starts_with(expected), "{cause}");
}
