//! Units of systemd on a booted host: made, changed, masked, restarted, rolled back, and killed half way.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use e2e::{
    CommandOutput, Fingerprint, Host, Image, TestEnv,
    archive::Package,
    difference,
    walk::{self, Share},
};

const SPEC: &str = "/root/host.kdl";

/// Writes a spec with these resources.
fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
    host.run_ok(&["sync", SPEC]);
}

/// Applies a spec and checks that nothing is left to change.
fn apply_and_check(host: &Host, resources: &str) -> CommandOutput {
    write_spec(host, resources);
    let applied = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    check_no_changes(host);
    applied
}

/// Checks that the host is as the spec says.
fn check_no_changes(host: &Host) {
    let plan = host.stead(&["plan", SPEC]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(plan.out.contains("No changes."), "{plan:?}");
}

fn plan(host: &Host) -> String {
    let plan = host.stead(&["plan", SPEC]);
    assert_eq!(plan.code, Some(3), "{plan:?}");
    plan.out
}

/// Applies a spec that fails for a reason, after which everything is as before.
fn check_apply_fails(host: &Host, resources: &str, reason: &str) {
    let start = unit_fingerprint(host);
    write_spec(host, resources);
    let failed = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains(reason), "{failed:?}");
    assert_eq!(difference(&start, &unit_fingerprint(host)), [""; 0]);
}

/// Checks that a spec is refused before anything is done.
fn check_refused(host: &Host, resource: &str, reason: &str) {
    write_spec(host, resource);
    let refused = host.stead(&["plan", SPEC]);
    assert_eq!(refused.code, Some(2), "{resource}: {refused:?}");
    // Long lines are broken, and no word is sure to stay whole.
    let plain = |text: &str| text.replace(|c: char| c.is_whitespace() || c == '|', "");
    assert!(
        plain(&refused.err).contains(&plain(reason)),
        "{resource}: {}",
        refused.err
    );
}

fn undo(host: &Host, run: usize) {
    let undone = host.stead(&["undo", "--yes", &run.to_string()]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
}

/// Looks at the host, at what systemd knows of units, and at the processes that they run.
fn unit_fingerprint(host: &Host) -> Fingerprint {
    let mut found = host.fingerprint();
    // Copies that the programs for accounts keep of the state before their last change.
    found.retain(|key, _| !(key.starts_with("/etc/") && key.ends_with('-')));
    // Whoever asks for the time or the name of the host starts them, and they end by themselves.
    for name in ["timedated", "hostnamed", "localed"] {
        found.remove(&format!("active systemd-{name}.service"));
    }
    let units = ["systemctl", "list-units", "--no-legend", "--plain"];
    let failed = host.run_ok(&[&units[..], &["--state=failed"]].concat()).out;
    found.insert("failed".to_owned(), failed);
    for unit in ["hello.service", "work@one.service", "ssh.service"] {
        let about = "--property=LoadState,UnitFileState,NeedDaemonReload,DropInPaths,FragmentPath";
        let shown = host.run_ok(&["systemctl", "show", about, unit]).out;
        found.insert(format!("unit {unit}"), shown);
    }
    let processes = host.run(&["ps", "-C", "sleep", "-o", "args="]).out;
    let mut processes: Vec<_> = processes.lines().collect();
    processes.sort_unstable();
    found.insert("processes".to_owned(), processes.join("\n"));
    found
}

/// A service that counts its starts.
fn hello_unit(seconds: u32) -> String {
    format!(
        r#"
    unit "hello.service" enabled=#true running=#true {{
        content """
            [Service]
            ExecStartPre=sh -c 'echo started >>/run/starts'
            ExecStart=/usr/bin/sleep {seconds}
            Restart=always

            [Install]
            WantedBy=multi-user.target
            Alias=greeting.service

            """
        drop-ins {{
            "50-memory" """
                [Service]
                MemoryMax=100M

                """
            "gone" #null
        }}
    }}
"#
    )
}

/// A template with an instance, and a timer with what it starts.
const OTHER_UNITS: &str = r##"
    unit "work@.service" {
        content """
            [Service]
            ExecStart=/usr/bin/sleep 7777%i

            [Install]
            WantedBy=multi-user.target

            """
    }
    unit "work@1.service" enabled=#true running=#true
    unit "tick.timer" enabled=#true running=#true {
        content """
            [Timer]
            OnCalendar=yearly

            [Install]
            WantedBy=timers.target

            """
    }
    unit "tick.service" {
        content """
            [Service]
            Type=oneshot
            ExecStart=/usr/local/bin/tick

            """
    }
    file "/usr/local/bin/tick" mode="0755" {
        content "#!/bin/sh\n"
    }
    directory "/srv/scratch"
    unit "srv-scratch.mount" enabled=#true running=#true {
        content """
            [Mount]
            What=tmpfs
            Where=/srv/scratch
            Type=tmpfs
            Options=mode=0755

            [Install]
            WantedBy=local-fs.target

            """
    }
"##;

fn start_count(host: &Host) -> usize {
    host.get("/run/starts").unwrap_or_default().lines().count()
}

/// Units of many types come, stay, come back when somebody stops them, change, fail, and go.
fn check_lifecycle(host: &mut Host, again: fn(&mut Host)) {
    let start = unit_fingerprint(host);
    apply_and_check(host, &(hello_unit(1000) + OTHER_UNITS));
    for unit in [
        "hello.service",
        "greeting.service",
        "work@1.service",
        "tick.timer",
        "srv-scratch.mount",
    ] {
        host.run_ok(&["systemctl", "is-active", unit]);
    }
    let made = unit_fingerprint(host);
    again(host);
    check_no_changes(host);
    assert_eq!(difference(&made, &unit_fingerprint(host)), [""; 0]);

    // What systemd cannot load is rolled back before anything was restarted.
    let before = start_count(host);
    let broken = hello_unit(3000).replace("ExecStart=", "ExecStart=true\n            ExecStart=");
    check_apply_fails(host, &broken, "cannot load it");
    assert_eq!(start_count(host), before);
    write_spec(host, &(hello_unit(1000) + OTHER_UNITS));
    check_no_changes(host);

    host.run_ok(&[
        "systemctl",
        "disable",
        "--now",
        "hello.service",
        "work@1.service",
    ]);
    let planned = plan(host);
    for line in [
        "enabled  false → true",
        "running  false → true",
        "+ unit:work@1.service",
    ] {
        assert!(planned.contains(line), "{planned}");
    }
    apply_and_check(host, &(hello_unit(1000) + OTHER_UNITS));
    assert_eq!(difference(&made, &unit_fingerprint(host)), [""; 0]);

    // systemd has started it again by itself, with what it had.
    let before = start_count(host);
    host.run_ok(&["systemctl", "kill", "--signal=KILL", "hello.service"]);
    while start_count(host) == before {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    host.run_ok(&["systemctl", "start", "hello.service"]);
    check_no_changes(host);

    // A change restarts what runs with it once, the instances of a template too, and touching a file does not.
    let others = OTHER_UNITS.replace("7777", "8888");
    let before = start_count(host);
    let applied = apply_and_check(host, &(hello_unit(2000) + &others));
    for service in ["hello.service", "work@1.service"] {
        assert!(
            applied.out.contains(&format!("restarts {service}")),
            "{applied:?}"
        );
    }
    assert_eq!(start_count(host), before + 1);
    let changed = unit_fingerprint(host);
    host.run_ok(&["touch", "/etc/systemd/system/hello.service"]);
    check_no_changes(host);

    // Whoever made it run with something else: a restart is due.
    let path = "/etc/systemd/system/hello.service.d/50-memory.conf";
    let drop_in = host.get(path).unwrap();
    host.put(path, "[Service]\nMemoryMax=50M\n");
    host.run_ok(&["systemctl", "daemon-reload"]);
    host.run_ok(&["systemctl", "restart", "hello.service"]);
    host.put(path, &drop_in);
    let planned = plan(host);
    assert!(planned.contains("stale  true → false"), "{planned}");
    assert!(planned.contains("restarts hello.service"), "{planned}");
    apply_and_check(host, &(hello_unit(2000) + &others));
    assert_eq!(start_count(host), before + 3);
    assert_eq!(difference(&changed, &unit_fingerprint(host)), [""; 0]);
    assert!(changed["processes"].contains("sleep 88881"), "{changed:?}");

    let broken = hello_unit(3000).replace("/usr/bin/sleep 3000", "false");
    // With which code is not to be seen any more where systemd has started it again before stead looks.
    check_apply_fails(
        host,
        &broken,
        "unit:hello.service: cannot restart it\n  it exited ",
    );
    undo(host, 4);
    assert_eq!(difference(&made, &unit_fingerprint(host)), [""; 0]);
    undo(host, 1);
    assert_eq!(difference(&start, &unit_fingerprint(host)), [""; 0]);
}

#[test]
fn units_are_created_changed_and_removed() {
    check_lifecycle(&mut Host::boot(Image::Debian13), Host::reboot);
}

#[test]
fn units_are_created_changed_and_removed_on_debian_12() {
    check_lifecycle(&mut Host::boot(Image::Debian12), Host::power_cut);
}

/// A unit that somebody made by hand: hidden from others, with a drop-in that is a link, and enabled by a link of its own kind.
fn make_admin_unit(host: &Host) {
    let dir = "/etc/systemd/system";
    host.put(
        &format!("{dir}/hand.service"),
        "[Service]\nExecStart=sleep 5555\n[Install]\nWantedBy=multi-user.target\n",
    );
    host.run_ok(&["chmod", "0600", &format!("{dir}/hand.service")]);
    host.put(&format!("{dir}/hand.service.d/10-x.conf"), "[Unit]\n");
    for (target, link) in [
        ("/dev/null", "hand.service.d/20-y.conf"),
        ("../hand.service", "multi-user.target.wants/hand.service"),
    ] {
        host.run_ok(&["ln", "--symbolic", target, &format!("{dir}/{link}")]);
    }
    host.run_ok(&["systemctl", "daemon-reload"]);
    host.run_ok(&["systemctl", "start", "hand.service"]);
}

#[test]
fn undo_restores_units_of_packages_and_admins() {
    let host = Host::boot(Image::Debian13);
    make_admin_unit(&host);
    let start = unit_fingerprint(&host);
    let pid = |host: &Host| {
        let shown = host.run_ok(&[
            "systemctl",
            "show",
            "--value",
            "--property=MainPID",
            "ssh.service",
        ]);
        shown.out
    };
    let before = pid(&host);
    let planned = apply_and_check(
        &host,
        "unit \"ssh.service\" {\n drop-ins {\n \"50-x\" \"[Service]\\nEnvironment=GREETING=hello\\n\"\n}\n}",
    );
    assert!(
        planned
            .out
            .contains("this host may be reachable only through it"),
        "{planned:?}"
    );
    assert_ne!(pid(&host), before);
    let shown = host.run_ok(&["systemctl", "show", "--property=Environment", "ssh.service"]);
    assert_eq!(shown.out, "Environment=GREETING=hello\n");
    undo(&host, 1);
    assert_eq!(difference(&start, &unit_fingerprint(&host)), [""; 0]);
    assert_eq!(host.run_ok(&["dpkg", "--verify", "openssh-server"]).out, "");

    let mut run = 3;
    for (spec, (asked, said)) in [
        (
            "unit \"netfilter-persistent.service\" enabled=#false running=#false",
            (&["is-enabled", "netfilter-persistent"], "disabled"),
        ),
        (
            "unit \"netfilter-persistent.service\" masked=#true running=#false",
            (&["is-enabled", "netfilter-persistent"], "masked"),
        ),
        (
            "unit \"getty@tty1.service\" absent=#true",
            (&["is-enabled", "getty@tty1"], "disabled"),
        ),
        (
            "unit \"pair.service\" running=#true {\n content \"[Unit]\\nRequires=pair.socket\\n[Service]\\nExecStart=sleep 6666\\n\"\n }\n\
             unit \"pair.socket\" enabled=#true running=#true {\n content \"[Socket]\\nListenStream=/run/pair\\n[Install]\\nWantedBy=sockets.target\\n\"\n }",
            (&["is-active", "pair.socket"], "active"),
        ),
        (
            "unit \"hand.service\" absent=#true",
            (&["is-active", "hand"], "inactive"),
        ),
        (
            "unit \"ssh.service\" {\n content \"[Service]\\nExecStart=sleep 9999\\n\"\n }",
            (&["is-active", "ssh"], "active"),
        ),
    ] {
        apply_and_check(&host, spec);
        let answer = host.run(&[&["systemctl"], &asked[..]].concat());
        assert_eq!(answer.out.trim(), said, "{spec}");
        undo(&host, run);
        assert_eq!(
            difference(&start, &unit_fingerprint(&host)),
            [""; 0],
            "{spec}"
        );
        run += 2;
    }
}

#[test]
fn server_example_is_applied_and_undone() {
    let host = Host::boot(Image::Debian13);
    let start = unit_fingerprint(&host);
    host.put(SPEC, include_str!("../../../examples/hosts/server.kdl"));
    let applied = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    check_no_changes(&host);
    host.run_ok(&["systemctl", "start", "backup.service"]);
    host.run_ok(&["rm", "/srv/backup/app.tar.gz"]);
    undo(&host, 1);
    assert_eq!(difference(&start, &unit_fingerprint(&host)), [""; 0]);
}

/// What is refused before anything is done, and what is said.
const REJECTED_UNITS: [(&str, &str); 12] = [
    (
        "\"ssh.service\" absent=#true",
        "only what is in /etc/systemd/system can be removed",
    ),
    (
        "\"sshd.service\" running=#true",
        "write `unit \"ssh.service\"`",
    ),
    (
        "\"dbus.service\" enabled=#true",
        "its section `[Install]` does not say what starts it",
    ),
    (
        "\"sshh.service\" running=#true",
        "did you mean `ssh.service`?",
    ),
    (
        "\"nginx-of-mine.service\" enabled=#true",
        "write its `content`",
    ),
    (
        "\"work@1.service\" running=#true",
        "this host has no unit `work@.service`",
    ),
    (
        "\"hwclock.service\" running=#true",
        "masked by `/usr/lib/systemd/system/hwclock.service`",
    ),
    (
        "\"e2scrub_all.service\" running=#true",
        "exits when its work is done",
    ),
    (
        "\"uplink.service\" masked=#true",
        "a mask would take its place",
    ),
    (
        "\"brief.service\" running=#false",
        "`brief.service` is transient",
    ),
    (
        "\"linked.service\" enabled=#true",
        "created by `systemctl link`",
    ),
    (
        "\"sshd-unix-local.socket\" enabled=#false",
        "systemd generates `sshd-unix-local.socket`",
    ),
];

/// Services that only systemd itself finds unfit, and what is said.
const UNSTARTABLE_SERVICES: [(&str, &str); 7] = [
    (
        "ExecStart=/usr/bin/slep 1",
        "its program cannot be executed",
    ),
    ("ExecStart=true\\nExecStart=sleep 1", "cannot load it"),
    (
        "ExecStart=sleep 1\\nUser=nobody-at-all",
        "its log: `journalctl --unit hello.service`",
    ),
    ("ExecStart=true", "it exited at once"),
    (
        "ExecStart=false\\nRestart=always\\nRestartSec=0",
        "cannot start it",
    ),
    (
        "ExecStart=sleep 1000\\n[Unit]\\nConditionPathExists=/nowhere",
        "its conditions are not met on this host",
    ),
    (
        "ExecStart=sleep 1000\\n[Unit]\\nRequires=nowhere.service",
        "cannot start it",
    ),
];

#[test]
fn invalid_units_leave_the_host_unchanged() {
    let host = Host::boot(Image::Debian13);
    host.run_ok(&["systemd-run", "--unit=brief", "sleep", "1000"]);
    host.put("/opt/linked.service", "[Service]\nExecStart=sleep 1000\n");
    host.run_ok(&["systemctl", "link", "/opt/linked.service"]);
    let start = unit_fingerprint(&host);
    for (unit, reason) in REJECTED_UNITS {
        check_refused(&host, &format!("unit {unit}"), reason);
    }
    let service = |lines: &str| {
        format!("unit \"hello.service\" running=#true {{\n content \"[Service]\\n{lines}\\n\"\n }}")
    };
    for (lines, reason) in UNSTARTABLE_SERVICES {
        check_apply_fails(&host, &service(lines), reason);
    }
    assert_eq!(difference(&start, &unit_fingerprint(&host)), [""; 0]);

    // Whoever is not root sees what there is to see.
    apply_and_check(&host, &service("ExecStart=sleep 1000"));
    host.run_ok(&["chmod", "0644", SPEC]);
    host.run_ok(&["chmod", "0711", "/root"]);
    let stead = host.stead_path();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534"];
    let planned = host.run(&[&nobody[..], &["--clear-groups", &stead, "plan", SPEC]].concat());
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let unseen = "could not be read: stale of unit:hello.service";
    assert!(planned.out.contains(unseen), "{planned:?}");
}

#[test]
fn undo_of_package_and_its_unit_leaves_nothing() {
    let host = Host::boot(Image::Debian13);
    let unit = "[Service]\nExecStart=sleep 4444\n[Install]\nWantedBy=multi-user.target\n";
    host.publish_packages(&[Package {
        name: "greeter",
        version: "1",
        files: &[("/usr/lib/systemd/system/greeter.service", unit)],
        postinst: Some("systemctl daemon-reload"),
        ..Package::default()
    }]);
    let start = unit_fingerprint(&host);
    let both = r#"
    package "greeter"
    unit "greeter.service" enabled=#true running=#true {
        drop-ins {
            "50-x" "[Service]\nNice=5\n"
        }
    }
"#;
    let failing = format!("{both}    file \"/proc/nonsense\" needs=\"unit:greeter.service\"");
    check_apply_fails(&host, &failing, "file:/proc/nonsense");
    apply_and_check(&host, both);
    host.run_ok(&["systemctl", "is-enabled", "greeter.service"]);
    undo(&host, 2);
    assert_eq!(difference(&start, &unit_fingerprint(&host)), [""; 0]);
}

/// Calls by which an apply reaches files, and the one by which it asks systemd.
const CALLS: [&str; 7] = [
    "fsync",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "sendmsg",
];
/// How many kills a sample has, if there are not more sorts of calls.
const KILL_SAMPLE: usize = 20;

#[test]
fn recover_rolls_back_a_kill_at_any_call() {
    let host = Host::boot(Image::Debian13);
    make_admin_unit(&host);
    apply_and_check(&host, &hello_unit(1000));
    let start = unit_fingerprint(&host);
    let spec = hello_unit(2000).replace("\"gone\" #null", "\"60-nice\" \"[Service]\\nNice=5\\n\"")
        + &OTHER_UNITS[..OTHER_UNITS.find("    unit \"tick.timer\"").unwrap()]
        + "    unit \"hand.service\" absent=#true\n";
    write_spec(&host, &spec);
    let arguments = ["apply", "--yes", SPEC];
    let undo_all = || {
        check_no_changes(&host);
        undo(&host, host.latest_run());
        assert_eq!(difference(&start, &unit_fingerprint(&host)), [""; 0]);
    };
    let made = walk::trace_calls(&host, &CALLS.join(","), &[], &arguments, 0);
    undo_all();
    let kill = |call: &'static str, number| {
        let inject = format!("signal=KILL:when={number}");
        let mut killed = host.stead_injected(call, &inject, &[], &arguments);
        let said = CommandOutput::from(killed.output().unwrap());
        if said.code == Some(0) {
            undo_all();
            return false;
        }
        let recovered = host.stead(&["recover"]);
        assert_eq!(recovered.code, Some(0), "{call} {number}: {recovered:?}");
        let left = difference(&start, &unit_fingerprint(&host));
        if !left.is_empty() && recovered.err.contains("Nothing to recover") {
            // It was at its end already.
            undo_all();
        } else {
            assert_eq!(left, [""; 0], "{call} {number}: {recovered:?}");
        }
        true
    };
    let kills = walk::for_each_call(
        "kills in an apply of units",
        (&CALLS, Share::WHOLE),
        KILL_SAMPLE,
        made,
        kill,
    );
    assert!(kills > 6, "{kills}");
}
