//! `stead watch` on booted hosts: what is overwritten comes back at once, and a fight ends with a name.

use e2e::{
    Host, Image, TestEnv, wait_for, wait_until,
    watch_benchmark::{boot, flip_legacy, flip_nft, main_process},
};

const SPEC: &str = "/root/host.kdl";

fn apply(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
    host.stead_exits(&["apply", "--yes", SPEC], 0);
}

/// Waits until a plan of the spec is empty.
fn wait_until_converged(host: &Host) {
    wait_for(|| match host.stead(&["plan", SPEC]) {
        said if said.code == Some(0) => Ok(()),
        said => Err(format!("{said:?}")),
    });
}

fn journal(host: &Host) -> String {
    host.run_ok(&[
        "journalctl",
        "--unit=stead-watch",
        "--output=cat",
        "--no-pager",
    ])
    .out
}

/// Returns a figure of the watch.
fn metric(host: &Host, name: &str) -> u64 {
    let figures = host.run_ok(&["cat", "/run/stead/watch.prom"]).out;
    let line = figures
        .lines()
        .find_map(|line| line.strip_prefix(&format!("stead_watch_{name} ")));
    let value = line.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {figures}"))
}

#[test]
fn watch_restores_policies_of_both_backends_as_runs() {
    let host = boot(Image::Debian13);
    let status = format!("/proc/{}/status", main_process(&host));
    let status = host.run_ok(&["cat", &status]).out;
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
    let nft = flip_nft(&host, 5);
    let legacy = flip_legacy(&host, 5);
    println!("put back after {nft:?} (nft) and {legacy:?} (legacy)");
    wait_until_converged(&host);
    let history = host.stead(&["history"]).out;
    // The first run is ours.
    wait_until("each is a run", || {
        host.stead(&["history"]).out.lines().count() > 10
    });
    let shown = host.stead(&["show", "5"]).out;
    assert!(
        shown.contains("iptables-policy:filter/FORWARD"),
        "{shown}\n{history}"
    );
    assert_eq!(
        metric(
            &host,
            "mends_total{address=\"iptables-policy:filter/FORWARD\"}"
        ),
        10
    );
    let said = journal(&host);
    assert!(said.contains("changed by iptables-nft (process "), "{said}");
}

#[test]
fn watch_restores_runtime_state_but_no_files() {
    let mut host = Host::boot(Image::Debian13);
    let spec = r#"
        iptables-chain "filter/MINE"
        iptables-rule "web" chain="MINE" { match "-p tcp --dport 80"; jump "ACCEPT"; }
        sysctl "net.ipv4.ip_forward" "1"
        sysctl "net.ipv4.conf.all.rp_filter" "2"
        file "/etc/motd" { content "hello\n"; }
        hook "watch"
    "#;
    apply(&host, spec);
    let before = host.settled_fingerprint();
    for change in [
        &["iptables", "--flush", "MINE"][..],
        &["nft", "flush", "ruleset"],
        &["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"],
        &["rm", "/etc/sysctl.d/99-zz-stead.conf"],
        &[
            "sed",
            "-i",
            "s/rp_filter *=.*/rp_filter = 1/",
            "/etc/sysctl.d/99-zz-stead.conf",
        ],
    ] {
        host.run_ok(change);
        wait_until_converged(&host);
    }
    assert_eq!(
        e2e::difference(&before, &host.settled_fingerprint()),
        [""; 0]
    );
    // What is no state that others overwrite stays as somebody made it.
    host.put("/etc/motd", "mine\n");
    host.run_ok(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    wait_until("it forwards again", || {
        host.run_ok(&["sysctl", "-n", "net.ipv4.ip_forward"]).out == "1\n"
    });
    assert_eq!(host.run_ok(&["cat", "/etc/motd"]).out, "mine\n");

    // Who watches is killed: systemd starts it again, and what was overwritten meanwhile comes back.
    let process = main_process(&host);
    host.run_ok(&["kill", "-KILL", &process]);
    host.run_ok(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    wait_until("it forwards again", || {
        host.run_ok(&["sysctl", "-n", "net.ipv4.ip_forward"]).out == "1\n"
    });
    assert_ne!(main_process(&host), process);

    host.reboot();
    wait_until("somebody watches", || {
        host.run(&["systemctl", "is-active", "stead-watch.service"])
            .code
            == Some(0)
    });
    wait_until("it has figures", || {
        host.run(&["test", "-e", "/run/stead/watch.prom"]).code == Some(0)
    });
    wait_until("it counts what it watches", || {
        metric(&host, "resources") == 4
    });
    host.run_ok(&["iptables", "--flush", "MINE"]);
    wait_until("the rule is back", || {
        host.run_ok(&["iptables", "--list-rules", "MINE"])
            .out
            .contains("stead:web")
    });
}

#[test]
fn watch_follows_new_applies_and_ends_with_undo() {
    let host = Host::boot(Image::Debian13);
    let start = host.settled_fingerprint();
    let accept = "iptables-policy \"filter/FORWARD\" \"ACCEPT\"\nhook \"watch\"";
    apply(&host, accept);
    // What another run asks for counts from then on.
    apply(&host, &accept.replace("ACCEPT", "DROP"));
    host.run_ok(&["iptables", "--policy", "FORWARD", "ACCEPT"]);
    wait_until("it is DROP again", || {
        host.run_ok(&["iptables", "--list-rules", "FORWARD"])
            .out
            .contains("-P FORWARD DROP")
    });
    let runs = host.stead(&["history", "--json"]);
    assert_eq!(runs.code, Some(0), "{runs:?}");
    host.stead_exits(&["undo", "--yes", "2"], 0);
    wait_until_accepting(&host);
    host.stead_exits(&["undo", "--yes", "1"], 0);
    let active = host.run(&["systemctl", "is-active", "stead-watch.service"]);
    assert_ne!(active.code, Some(0), "{active:?}");
    assert_eq!(
        e2e::difference(&start, &host.settled_fingerprint()),
        [""; 0]
    );
}

fn wait_until_accepting(host: &Host) {
    wait_until("it is ACCEPT", || {
        host.run_ok(&["iptables", "--list-rules", "FORWARD"])
            .out
            .contains("-P FORWARD ACCEPT")
    });
}

#[test]
fn watch_names_the_overwriter_and_stops_restoring() {
    let host = boot(Image::Debian13);
    // A thousand times in a minute.
    host.put(
        "/root/fight.sh",
        "while :; do iptables -P FORWARD DROP; sleep 0.06; done\n",
    );
    host.run_ok(&[
        "systemd-run",
        "--quiet",
        "--unit=fight",
        "sh",
        "/root/fight.sh",
    ]);
    let said = wait_for(|| match journal(&host) {
        said if said.contains("No longer restoring") => Ok(said),
        said => Err(said),
    });
    let line = said
        .lines()
        .find(|line| line.contains("No longer restoring"))
        .unwrap();
    assert!(
        line.contains("No longer restoring iptables-policy:filter/FORWARD: iptables"),
        "{line}"
    );
    assert!(
        line.contains("started by `/usr/bin/sh /root/fight.sh`"),
        "{line}"
    );
    assert!(line.contains("10 times within ten seconds"), "{line}");
    let mended = said
        .matches("Restored iptables-policy:filter/FORWARD")
        .count();
    assert!(mended < 10, "{mended}: {said}");
    let show = [
        "systemctl",
        "show",
        "--value",
        "--property=StatusText",
        "stead-watch",
    ];
    let status = host.run_ok(&show).out;
    assert!(
        status.contains("NO LONGER RESTORING: iptables-policy:filter/FORWARD"),
        "{status}"
    );

    // It rests while the other goes on, and what is not fought over comes back as ever.
    let looks = metric(&host, "looks_total");
    host.run_ok(&["sleep", "3"]);
    assert_eq!(metric(&host, "looks_total"), looks);
    host.run_ok(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    wait_until("it forwards again", || {
        host.run_ok(&["sysctl", "-n", "net.ipv4.ip_forward"]).out == "1\n"
    });
    let given_up = "given_up{address=\"iptables-policy:filter/FORWARD\"}";
    assert_eq!(metric(&host, given_up), 1);

    host.run_ok(&["systemctl", "stop", "fight"]);
    host.run_ok(&["systemctl", "restart", "stead-watch"]);
    wait_until_accepting(&host);
}

#[test]
fn suspended_resource_stays_so_when_dependencies_change() {
    let host = Host::boot(Image::Debian13);
    let spec = r#"
        iptables-chain "filter/MINE"
        iptables-rule "web" chain="MINE" { match "-p tcp --dport 80"; jump "ACCEPT"; }
        sysctl "net.ipv4.ip_forward" "1"
        hook "watch"
    "#;
    apply(&host, spec);
    // The chain moves each time, and the rule needs it.
    host.put(
        "/root/flush.sh",
        "while :; do iptables --flush MINE; sleep 0.06; done\n",
    );
    let run = ["systemd-run", "--quiet", "--unit=flush"];
    host.run_ok(&[&run[..], &["sh", "/root/flush.sh"]].concat());
    wait_for(|| match journal(&host) {
        said if said.contains("No longer restoring iptables-rule:web") => Ok(()),
        said => Err(said),
    });
    host.run_ok(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    wait_until("it forwards again", || {
        host.run_ok(&["sysctl", "-n", "net.ipv4.ip_forward"]).out == "1\n"
    });
    assert_eq!(journal(&host).matches("No longer restoring").count(), 1);
}

#[test]
fn watch_recovers_an_interrupted_run() {
    let host = Host::boot(Image::Debian13);
    apply(
        &host,
        "sysctl \"net.ipv4.ip_forward\" \"1\"\nhook \"watch\"",
    );
    let spec = "sysctl \"net.ipv4.ip_forward\" \"1\"\nhook \"watch\"\nfile \"/etc/motd\" { content \"new\\n\"; }\n\
        unit \"slow.service\" running=#true { content \"[Service]\\nType=notify\\nExecStart=/bin/sleep 1000\\n\"; }";
    let motd = host.run_ok(&["cat", "/etc/motd"]).out;
    host.put(SPEC, &format!("host \"test\" {{\n{spec}\n}}\n"));
    let run = [
        "systemd-run",
        "--quiet",
        "--unit=apply",
        "--property=KillMode=process",
    ];
    host.run_ok(&[&run[..], &["/usr/bin/env", "stead", "apply", "--yes", SPEC]].concat());
    wait_until("it is half done", || {
        host.run_ok(&["cat", "/etc/motd"]).out == "new\n"
            && host
                .run(&["systemctl", "show", "slow"])
                .out
                .contains("ActiveState=activating")
    });
    host.run_ok(&["systemctl", "kill", "--signal=KILL", "apply"]);
    wait_until("the file is as before", || {
        host.run_ok(&["cat", "/etc/motd"]).out == motd
    });
    wait_until("systemd has nothing of it", || {
        host.run(&["systemctl", "is-active", "slow"]).code != Some(0)
            && host
                .run(&["test", "-e", "/etc/systemd/system/slow.service"])
                .code
                != Some(0)
    });
}
