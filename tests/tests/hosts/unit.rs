//! Units of systemd on a booted host: made, changed, masked, restarted, taken back, and killed half way.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use e2e::{
    Fingerprint, Host, Image, Inside, Said,
    archive::Package,
    difference,
    walk::{self, Share},
};

const SPEC: &str = "/root/host.kdl";

/// Writes a spec with these resources.
fn write(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
    host.must(&["sync", SPEC]);
}

/// Applies a spec and checks that nothing is left to change.
fn apply(host: &Host, resources: &str) -> Said {
    write(host, resources);
    let applied = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    must_match(host);
    applied
}

/// Checks that the host is as the spec says.
fn must_match(host: &Host) {
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
fn check_fails(host: &Host, resources: &str, reason: &str) {
    let start = look(host);
    write(host, resources);
    let failed = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains(reason), "{failed:?}");
    assert_eq!(difference(&start, &look(host)), [""; 0]);
}

/// Checks that a spec is refused before anything is done.
fn check_refused(host: &Host, resource: &str, reason: &str) {
    write(host, resource);
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
fn look(host: &Host) -> Fingerprint {
    let mut found = host.fingerprint();
    // Copies that the programs for accounts keep of the state before their last change.
    found.retain(|key, _| !(key.starts_with("/etc/") && key.ends_with('-')));
    // Whoever asks for the time or the name of the host starts them, and they end by themselves.
    for name in ["timedated", "hostnamed", "localed"] {
        found.remove(&format!("active systemd-{name}.service"));
    }
    let units = ["systemctl", "list-units", "--no-legend", "--plain"];
    let failed = host.must(&[&units[..], &["--state=failed"]].concat()).out;
    found.insert("failed".to_owned(), failed);
    for unit in ["hello.service", "work@one.service", "ssh.service"] {
        let about = "--property=LoadState,UnitFileState,NeedDaemonReload,DropInPaths,FragmentPath";
        let shown = host.must(&["systemctl", "show", about, unit]).out;
        found.insert(format!("unit {unit}"), shown);
    }
    let processes = host.run(&["ps", "-C", "sleep", "-o", "args="]).out;
    let mut processes: Vec<_> = processes.lines().collect();
    processes.sort_unstable();
    found.insert("processes".to_owned(), processes.join("\n"));
    found
}

/// A service that counts its starts.
fn hello(seconds: u32) -> String {
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
const OTHERS: &str = r##"
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

fn starts(host: &Host) -> usize {
    host.get("/run/starts").unwrap_or_default().lines().count()
}

/// Units of many types come, stay, come back when somebody stops them, change, fail, and go.
fn check_life(host: &mut Host, again: fn(&mut Host)) {
    let start = look(host);
    apply(host, &(hello(1000) + OTHERS));
    for unit in [
        "hello.service",
        "greeting.service",
        "work@1.service",
        "tick.timer",
        "srv-scratch.mount",
    ] {
        host.must(&["systemctl", "is-active", unit]);
    }
    let made = look(host);
    again(host);
    must_match(host);
    assert_eq!(difference(&made, &look(host)), [""; 0]);

    // What systemd cannot load is taken back before anything was restarted.
    let before = starts(host);
    let broken = hello(3000).replace("ExecStart=", "ExecStart=true\n            ExecStart=");
    check_fails(host, &broken, "cannot load it");
    assert_eq!(starts(host), before);
    write(host, &(hello(1000) + OTHERS));
    must_match(host);

    host.must(&[
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
    apply(host, &(hello(1000) + OTHERS));
    assert_eq!(difference(&made, &look(host)), [""; 0]);

    // systemd has started it again by itself, with what it had.
    let before = starts(host);
    host.must(&["systemctl", "kill", "--signal=KILL", "hello.service"]);
    while starts(host) == before {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    host.must(&["systemctl", "start", "hello.service"]);
    must_match(host);

    // A change restarts what runs with it once, the instances of a template too, and touching a file does not.
    let others = OTHERS.replace("7777", "8888");
    let before = starts(host);
    let applied = apply(host, &(hello(2000) + &others));
    for service in ["hello.service", "work@1.service"] {
        assert!(
            applied.out.contains(&format!("restarts {service}")),
            "{applied:?}"
        );
    }
    assert_eq!(starts(host), before + 1);
    let changed = look(host);
    host.must(&["touch", "/etc/systemd/system/hello.service"]);
    must_match(host);

    // Whoever made it run with something else: a restart is due.
    let path = "/etc/systemd/system/hello.service.d/50-memory.conf";
    let drop_in = host.get(path).unwrap();
    host.put(path, "[Service]\nMemoryMax=50M\n");
    host.must(&["systemctl", "daemon-reload"]);
    host.must(&["systemctl", "restart", "hello.service"]);
    host.put(path, &drop_in);
    let planned = plan(host);
    assert!(planned.contains("stale  true → false"), "{planned}");
    assert!(planned.contains("restarts hello.service"), "{planned}");
    apply(host, &(hello(2000) + &others));
    assert_eq!(starts(host), before + 3);
    assert_eq!(difference(&changed, &look(host)), [""; 0]);
    assert!(changed["processes"].contains("sleep 88881"), "{changed:?}");

    let broken = hello(3000).replace("/usr/bin/sleep 3000", "false");
    // With which code is not to be seen any more where systemd has started it again before stead looks.
    check_fails(
        host,
        &broken,
        "unit:hello.service: cannot restart it\n  it exited ",
    );
    undo(host, 4);
    assert_eq!(difference(&made, &look(host)), [""; 0]);
    undo(host, 1);
    assert_eq!(difference(&start, &look(host)), [""; 0]);
}

#[test]
fn units_come_stay_change_and_go() {
    check_life(&mut Host::boot(Image::Debian13), Host::reboot);
}

#[test]
fn units_come_stay_change_and_go_on_debian_12() {
    check_life(&mut Host::boot(Image::Debian12), Host::power_cut);
}

/// A unit that somebody made by hand: hidden from others, with a drop-in that is a link, and enabled by a link of its own kind.
fn make_by_hand(host: &Host) {
    let folder = "/etc/systemd/system";
    host.put(
        &format!("{folder}/hand.service"),
        "[Service]\nExecStart=sleep 5555\n[Install]\nWantedBy=multi-user.target\n",
    );
    host.must(&["chmod", "0600", &format!("{folder}/hand.service")]);
    host.put(&format!("{folder}/hand.service.d/10-x.conf"), "[Unit]\n");
    for (target, link) in [
        ("/dev/null", "hand.service.d/20-y.conf"),
        ("../hand.service", "multi-user.target.wants/hand.service"),
    ] {
        host.must(&["ln", "--symbolic", target, &format!("{folder}/{link}")]);
    }
    host.must(&["systemctl", "daemon-reload"]);
    host.must(&["systemctl", "start", "hand.service"]);
}

#[test]
fn units_of_others_are_changed_and_put_back_as_they_were() {
    let host = Host::boot(Image::Debian13);
    make_by_hand(&host);
    let start = look(&host);
    let pid = |host: &Host| {
        let shown = host.must(&[
            "systemctl",
            "show",
            "--value",
            "--property=MainPID",
            "ssh.service",
        ]);
        shown.out
    };
    let before = pid(&host);
    let planned = apply(
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
    let shown = host.must(&["systemctl", "show", "--property=Environment", "ssh.service"]);
    assert_eq!(shown.out, "Environment=GREETING=hello\n");
    undo(&host, 1);
    assert_eq!(difference(&start, &look(&host)), [""; 0]);
    assert_eq!(host.must(&["dpkg", "--verify", "openssh-server"]).out, "");

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
        apply(&host, spec);
        let answer = host.run(&[&["systemctl"], &asked[..]].concat());
        assert_eq!(answer.out.trim(), said, "{spec}");
        undo(&host, run);
        assert_eq!(difference(&start, &look(&host)), [""; 0], "{spec}");
        run += 2;
    }
}

#[test]
fn the_example_is_applied_and_taken_back() {
    let host = Host::boot(Image::Debian13);
    let start = look(&host);
    host.put(SPEC, include_str!("../../../examples/hosts/server.kdl"));
    let applied = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    must_match(&host);
    host.must(&["systemctl", "start", "backup.service"]);
    host.must(&["rm", "/srv/backup/app.tar.gz"]);
    undo(&host, 1);
    assert_eq!(difference(&start, &look(&host)), [""; 0]);
}

/// What is refused before anything is done, and what is said.
const REFUSED: [(&str, &str); 12] = [
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
const UNFIT: [(&str, &str); 7] = [
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
fn what_a_unit_cannot_be_is_said_and_leaves_nothing() {
    let host = Host::boot(Image::Debian13);
    host.must(&["systemd-run", "--unit=brief", "sleep", "1000"]);
    host.put("/opt/linked.service", "[Service]\nExecStart=sleep 1000\n");
    host.must(&["systemctl", "link", "/opt/linked.service"]);
    let start = look(&host);
    for (unit, reason) in REFUSED {
        check_refused(&host, &format!("unit {unit}"), reason);
    }
    let service = |lines: &str| {
        format!("unit \"hello.service\" running=#true {{\n content \"[Service]\\n{lines}\\n\"\n }}")
    };
    for (lines, reason) in UNFIT {
        check_fails(&host, &service(lines), reason);
    }
    assert_eq!(difference(&start, &look(&host)), [""; 0]);

    // Whoever is not root sees what there is to see.
    apply(&host, &service("ExecStart=sleep 1000"));
    host.must(&["chmod", "0644", SPEC]);
    host.must(&["chmod", "0711", "/root"]);
    let stead = host.stead_path();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534"];
    let planned = host.run(&[&nobody[..], &["--clear-groups", &stead, "plan", SPEC]].concat());
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let unseen = "could not be read: stale of unit:hello.service";
    assert!(planned.out.contains(unseen), "{planned:?}");
}

#[test]
fn a_unit_that_a_package_brings_leaves_nothing_when_both_are_taken_back() {
    let host = Host::boot(Image::Debian13);
    let unit = "[Service]\nExecStart=sleep 4444\n[Install]\nWantedBy=multi-user.target\n";
    host.offer(&[Package {
        name: "greeter",
        version: "1",
        files: &[("/usr/lib/systemd/system/greeter.service", unit)],
        after: Some("systemctl daemon-reload"),
        ..Package::default()
    }]);
    let start = look(&host);
    let both = r#"
    package "greeter"
    unit "greeter.service" enabled=#true running=#true {
        drop-ins {
            "50-x" "[Service]\nNice=5\n"
        }
    }
"#;
    let failing = format!("{both}    file \"/proc/nonsense\" needs=\"unit:greeter.service\"");
    check_fails(&host, &failing, "file:/proc/nonsense");
    apply(&host, both);
    host.must(&["systemctl", "is-enabled", "greeter.service"]);
    undo(&host, 2);
    assert_eq!(difference(&start, &look(&host)), [""; 0]);
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
const SAMPLE: usize = 20;

#[test]
fn a_kill_anywhere_is_taken_back() {
    let host = Host::boot(Image::Debian13);
    make_by_hand(&host);
    apply(&host, &hello(1000));
    let start = look(&host);
    let spec = hello(2000).replace("\"gone\" #null", "\"60-nice\" \"[Service]\\nNice=5\\n\"")
        + &OTHERS[..OTHERS.find("    unit \"tick.timer\"").unwrap()]
        + "    unit \"hand.service\" absent=#true\n";
    write(&host, &spec);
    let arguments = ["apply", "--yes", SPEC];
    let undo_all = || {
        must_match(&host);
        let runs = host.stead(&["history"]).out.lines().count();
        undo(&host, runs);
        assert_eq!(difference(&start, &look(&host)), [""; 0]);
    };
    let made = walk::calls(&host, &CALLS.join(","), &[], &arguments, 0);
    undo_all();
    let kill = |call: &'static str, number| {
        let inject = format!("signal=KILL:when={number}");
        let mut killed = host.stead_injected(call, &inject, &[], &arguments);
        let said = Said::from(killed.output().unwrap());
        if said.code == Some(0) {
            undo_all();
            return false;
        }
        let recovered = host.stead(&["recover"]);
        assert_eq!(recovered.code, Some(0), "{call} {number}: {recovered:?}");
        let left = difference(&start, &look(&host));
        if !left.is_empty() && recovered.err.contains("Nothing to recover") {
            // It was at its end already.
            undo_all();
        } else {
            assert_eq!(left, [""; 0], "{call} {number}: {recovered:?}");
        }
        true
    };
    let kills = walk::each(
        "kills in an apply of units",
        (&CALLS, Share::WHOLE),
        SAMPLE,
        made,
        kill,
    );
    assert!(kills > 6, "{kills}");
}
