//! Nobody locks themselves out: over a real SSH session, and whatever kills a run that waits to be confirmed.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{process::Stdio, thread::sleep, time::Duration};

use e2e::{
    CommandOutput, Fingerprint, Host, Image, TestEnv, difference, wait_until,
    walk::{self, Share},
};

/// The client's network: a namespace on the host with a cable to it.
const CLIENT_SETUP: [&[&str]; 7] = [
    &["ip", "netns", "add", "client"],
    &[
        "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", "client",
    ],
    &["ip", "address", "add", "198.51.100.1/24", "dev", "cable"],
    &["ip", "link", "set", "cable", "up"],
    &[
        "ip",
        "-n",
        "client",
        "address",
        "add",
        "198.51.100.2/24",
        "dev",
        "cable",
    ],
    &["ip", "-n", "client", "link", "set", "cable", "up"],
    &[
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        "/root/.ssh/id_ed25519",
    ],
];
/// What begins a command on the client.
const CLIENT_SSH: [&str; 6] = ["ip", "netns", "exec", "client", "ssh", "root@198.51.100.1"];

/// All of what cuts the network, and what does not.
const POLICY: &str =
    "iptables-policy \"filter/INPUT\" \"DROP\" backend=\"nft\" family=\"ipv4\" persist=#false";
const SSH: &str = "iptables-rule \"ssh\" chain=\"INPUT\" backend=\"nft\" family=\"ipv4\" persist=#false { match \"-p tcp --dport 22\"; jump \"ACCEPT\"; }";
const LOOPBACK: &str = "iptables-rule \"lo\" chain=\"INPUT\" backend=\"nft\" family=\"ipv4\" persist=#false { match \"-i lo\"; jump \"ACCEPT\"; }";
const ESTABLISHED: &str = "iptables-rule \"made\" chain=\"INPUT\" backend=\"nft\" family=\"ipv4\" persist=#false { match \"-m conntrack --ctstate ESTABLISHED\"; jump \"ACCEPT\"; }";

/// Calls by which a run reaches the disk. strace counts each for itself.
const CALLS: [&str; 6] = [
    "fsync",
    "fdatasync",
    "renameat",
    "renameat2",
    "unlinkat",
    "symlinkat",
];

/// The records of the journal, the directories that were synced for files, and the files: between two of them a power cut at one place is as
/// good as at another.
const CUT_CALLS: [&str; 3] = ["fdatasync", "fsync", "renameat2"];
/// How many kills and power cuts a sample has, if there are not more sorts of calls.
const KILL_SAMPLE: usize = 16;
const CUT_SAMPLE: usize = 12;

/// Makes a client that gets into the host by SSH.
fn connect_client(host: &Host) {
    let config = "StrictHostKeyChecking no\nLogLevel ERROR\n";
    host.put("/root/.ssh/config", config);
    host.run_ok(&["chmod", "-R", "go=", "/root/.ssh"]);
    for argv in CLIENT_SETUP {
        host.run_ok(argv);
    }
    host.run_ok(&[
        "cp",
        "/root/.ssh/id_ed25519.pub",
        "/root/.ssh/authorized_keys",
    ]);
    host.run_ok(&["systemctl", "start", "ssh.service"]);
    assert_eq!(ssh(host, "echo in").out, "in\n");
}

/// Runs a command over SSH, as the client.
fn ssh(host: &Host, command: &str) -> CommandOutput {
    host.run(&[&CLIENT_SSH[..], &[command]].concat())
}

/// Begins to run a command over SSH, as the client.
fn spawn_ssh(host: &Host, command: &str) -> std::process::Child {
    let mut command = host.command(&[&CLIENT_SSH[..], &[command]].concat());
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for_output(child: std::process::Child) -> CommandOutput {
    child.wait_with_output().unwrap().into()
}

/// Returns how the newest run ended, as the history tells it: the code, or `null`.
fn exit_of_latest_run(host: &Host) -> String {
    let json = host.run_ok(&["stead", "history", "--json"]).out;
    let exit = json.rsplit("\"exit\": ").next().unwrap();
    exit.split(['\n', ' ']).next().unwrap().to_owned()
}

fn write_spec(host: &Host, resources: &[&str]) {
    let resources = resources.join("\n");
    host.put(
        "/root/host.kdl",
        &format!("host \"h\" {{\n{resources}\n}}\n"),
    );
}

/// What looks after runs, if anything does: timers, and units for the next boot.
fn watchdogs(host: &Host) -> String {
    let units = host.run_ok(&["systemctl", "list-units", "--no-legend", "stead-revert-*"]);
    units.out + &boot_watchdogs(host)
}

/// Those of them that a boot starts.
fn boot_watchdogs(host: &Host) -> String {
    let find = ["find", "/etc/systemd/system", "-name", "*stead-revert-*"];
    host.run_ok(&find).out
}

/// Waits until the newest run was rolled back, and nothing looks after it any more.
fn wait_until_rolled_back(host: &Host) {
    wait_until("the run is rolled back", || {
        exit_of_latest_run(host) == "7" && boot_watchdogs(host).is_empty()
    });
}

#[test]
fn apply_that_cuts_ssh_is_rolled_back() {
    let host = Host::boot(Image::Debian13);
    connect_client(&host);
    let start = host.fingerprint();

    write_spec(&host, &[POLICY]);
    let said = ssh(&host, "stead apply --yes /root/host.kdl");
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.err.contains("You are connected over SSH"), "{said:?}");
    assert_eq!(exit_of_latest_run(&host), "7");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
    assert_eq!(watchdogs(&host), "");

    // No rule tells a new connection from this one, and this one gets through.
    write_spec(&host, &[SSH, POLICY]);
    let said = ssh(&host, "stead apply --yes /root/host.kdl");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err.contains("Confirmed: packets of this session"),
        "{said:?}"
    );
    assert_eq!(exit_of_latest_run(&host), "0");
    assert_eq!(watchdogs(&host), "");
    assert_eq!(ssh(&host, "stead undo --yes 2").code, Some(0));
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    // The session stays alive, but nobody could make it again.
    write_spec(&host, &[LOOPBACK, ESTABLISHED, POLICY]);
    let careless = spawn_ssh(&host, "stead apply --yes --confirm auto,8s /root/host.kdl");
    wait_until("it waits", || {
        host.stead(&["history"]).out.contains("not confirmed yet")
    });
    let refused = host.stead(&["apply", "--yes", "/root/host.kdl"]);
    assert_eq!(refused.code, Some(6), "{refused:?}");
    assert!(
        refused.err.contains("`stead confirm` confirms run 4"),
        "{refused:?}"
    );
    let said = wait_for_output(careless);
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.err.contains("the run was not confirmed"), "{said:?}");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    // Somebody makes a new one.
    write_spec(&host, &[LOOPBACK, ESTABLISHED, SSH, POLICY]);
    let careful = spawn_ssh(&host, "stead apply --yes --confirm auto /root/host.kdl");
    wait_until("it waits", || {
        host.stead(&["history"]).out.contains("not confirmed yet")
    });
    assert_eq!(ssh(&host, "sleep 3").code, Some(0));
    let said = wait_for_output(careful);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("a new connection came in from 198.51.100.2"),
        "{said:?}"
    );
    assert_eq!(watchdogs(&host), "");
}

/// A small spec: a change, something new, something that goes.
const SMALL_SPEC: &str = r#"host "small" {
    file "/srv/old" { content "changed\n"; }
    file "/srv/new" { content "new\n"; }
    file "/srv/gone" absent=#true
}
"#;

/// What the small spec changes.
fn srv_contents(host: &Host) -> String {
    host.run_ok(&["grep", "-r", "", "/srv"]).out
}

fn host_with_small_spec() -> (Host, Fingerprint) {
    let host = Host::boot(Image::Debian13);
    host.put("/srv/old", "old\n");
    host.put("/srv/gone", "still here\n");
    host.put("/root/host.kdl", SMALL_SPEC);
    host.run_ok(&["sync"]);
    let start = host.fingerprint();
    (host, start)
}

#[test]
fn unconfirmed_run_killed_anywhere_is_rolled_back() {
    let (host, start) = host_with_small_spec();
    let arguments = ["apply", "--yes", "--confirm", "3s", "/root/host.kdl"];
    let begin = srv_contents(&host);
    let made = walk::trace_calls(&host, &CALLS.join(","), &[], &arguments, 0);
    host.stead_exits(&["revert"], 0);
    let mut halfway = 0;
    let kill = |call: &'static str, number| {
        let inject = format!("signal=KILL:when={number}");
        let mut injected = host.stead_injected(call, &inject, &[], &arguments);
        let was_killed = injected.output().unwrap().status.code().is_none();
        if !was_killed {
            host.stead_exits(&["revert"], 0);
            return false;
        }
        let at = format!("killed at {call} {number}");
        halfway += usize::from(srv_contents(&host) != begin);
        if !watchdogs(&host).contains(".timer") && exit_of_latest_run(&host) == "null" {
            // Nobody was armed yet, and so nothing was changed; the next boot would end it.
            assert_eq!(srv_contents(&host), begin, "{at}");
            assert_eq!(host.stead(&["recover"]).code, Some(0), "{at}");
        }
        wait_until(&at, || {
            exit_of_latest_run(&host) != "null" && watchdogs(&host).is_empty()
        });
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0], "{at}");
        true
    };
    let kills = walk::for_each_call(
        "kills of a run that waits",
        (&CALLS, Share::WHOLE),
        KILL_SAMPLE,
        made,
        kill,
    );
    assert!(kills > 12, "the apply has more calls than {kills}");
    assert!(halfway > 3, "some kills must leave something to roll back");

    // Two roll back at once, and one confirms: one of them decides, and the others say so.
    let arguments = ["apply", "--yes", "--confirm", "10s", "/root/host.kdl"];
    assert_eq!(host.stead(&arguments).code, Some(0));
    let race = "for i in 1 2 3; do stead revert & done; stead confirm; echo confirm $?; wait";
    let said = host.run_ok(&["sh", "-c", race]);
    let end = exit_of_latest_run(&host);
    let left = difference(&start, &host.fingerprint());
    if said.out.contains("confirm 0") {
        assert_eq!((end.as_str(), left.is_empty()), ("0", false), "{said:?}");
    } else {
        assert_eq!((end.as_str(), left.len()), ("7", 0), "{said:?}");
    }
}

#[test]
fn unconfirmed_run_is_rolled_back_after_run_is_wiped() {
    let (mut host, start) = host_with_small_spec();
    let arguments = ["apply", "--yes", "--confirm", "10s", "/root/host.kdl"];
    let begin = srv_contents(&host);
    // What is ours in /run.
    assert_eq!(host.stead(&arguments).code, Some(0));
    host.run_ok(&["rm", "-rf", "/run/stead", "/run/systemd/transient"]);
    wait_until_rolled_back(&host);
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    // Everything in /run: with it the sockets by which systemd is spoken to.
    assert_eq!(host.stead(&arguments).code, Some(0));
    assert_ne!(srv_contents(&host), begin);
    host.run(&["find", "/run", "-xdev", "-mindepth", "1", "-delete"]);
    assert_eq!(host.get("/run/systemd/private"), None);
    wait_until_rolled_back(&host);
    assert_eq!(srv_contents(&host), begin);
    host.power_cut();
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
    assert_eq!(watchdogs(&host), "");
}

/// Runs stead until it has made a call so often, and stops it there for ever. Returns whether it came that far.
fn stop_at_call(host: &Host, call: &str, number: usize, arguments: &[&str]) -> bool {
    let inject = format!("signal=STOP:when={number}");
    let mut injected = host.stead_injected(call, &inject, &[], arguments);
    let mut run = injected.stdout(Stdio::null()).spawn().unwrap();
    loop {
        let trace = host.get("/run/trace").unwrap_or_default();
        if trace.contains("stopped by SIGSTOP") {
            // The power cut ends it, and this process must not wait for it here.
            std::thread::spawn(move || drop(run.wait()));
            return true;
        }
        if run.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn unconfirmed_run_is_rolled_back_after_a_power_cut() {
    let (mut host, start) = host_with_small_spec();
    let arguments = ["apply", "--yes", "--confirm", "10m", "/root/host.kdl"];
    let begin = srv_contents(&host);
    let made = walk::trace_calls(&host, &CUT_CALLS.join(","), &[], &arguments, 0);
    host.stead_exits(&["revert"], 0);
    let mut halfway = 0;
    let cut = |call: &'static str, number| {
        let was_reached = stop_at_call(&host, call, number, &arguments);
        halfway += usize::from(srv_contents(&host) != begin);
        host.power_cut();
        let at = format!("cut at {call} {number}");
        if exit_of_latest_run(&host) == "null" {
            // Nobody was armed on the disk yet, and so nothing was changed.
            assert_eq!(host.stead(&["recover"]).code, Some(0), "{at}");
        }
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0], "{at}");
        assert_eq!(watchdogs(&host), "", "{at}");
        if !was_reached {
            assert_eq!(exit_of_latest_run(&host), "7", "nobody confirmed it");
        }
        was_reached
    };
    let cuts = walk::for_each_call(
        "power cuts of a run that waits",
        (&CUT_CALLS, Share::WHOLE),
        CUT_SAMPLE,
        made,
        cut,
    );
    assert!(cuts > 8 && halfway > 3, "{cuts} cuts, {halfway} halfway");

    // One whose steps are done, too.
    host.stead_exits(&arguments, 0);
    host.power_cut();
    assert_eq!(exit_of_latest_run(&host), "7", "nobody confirmed it");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    // What is confirmed stays, and the next boot leaves it alone.
    assert_eq!(host.stead(&arguments).code, Some(0));
    assert_eq!(host.stead(&["confirm"]).code, Some(0));
    host.power_cut();
    assert_eq!(host.get("/srv/new").as_deref(), Some("new\n"));
    assert_eq!(exit_of_latest_run(&host), "0");
    assert_eq!(watchdogs(&host), "");
}

/// What takes part in rollback and can be away: files, systemd over its bus, snapd.
const FAULTY_SPEC: &str = r#"host "faulty" {
    file "/srv/large" { content "small now\n"; }
    hook "boot"
    snap-config "system/refresh.retain" "4"
    unit "mine.service" enabled=#true running=#true {
        content "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    }
}
"#;

#[test]
fn rollback_retries_until_missing_services_return() {
    let host = Host::boot(Image::Debian13);
    host.run_ok(&[
        "sh",
        "-c",
        "head -c 3000000 /dev/urandom | base64 >/srv/large",
    ]);
    host.put("/root/host.kdl", FAULTY_SPEC);
    let start = host.fingerprint();
    let fill = "i=0; for s in 1G 64M 4M 256K 16K 4K; do while fallocate -l $s /root/fill.$((i=i+1)) 2>/dev/null; do :; done; done; rm -f /root/fill.$i";
    let arguments = ["apply", "--yes", "--confirm", "10m", "/root/host.kdl"];
    for (goes, comes, left) in [
        (fill, "rm /root/fill.*", "file:/srv/large"),
        (
            "systemctl stop snapd.socket snapd.service",
            "systemctl start snapd.socket snapd.seeded.service",
            "snap-config:system/refresh.retain",
        ),
    ] {
        let applied = host.stead(&arguments);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        host.run_ok(&["sh", "-c", goes]);
        let said = host.stead(&["revert"]);
        assert_eq!(said.code, Some(4), "{goes}: {said:?}");
        assert!(said.err.contains(left), "{goes}: {said:?}");
        let history = host.stead(&["history"]).out;
        let says = history.contains("rolling back") && history.contains(left);
        assert!(says, "{history}");
        assert_eq!(host.stead(&["confirm"]).code, Some(7), "too late");
        host.run_ok(&["sh", "-c", comes]);
        wait_until(goes, || {
            exit_of_latest_run(&host) == "7" && watchdogs(&host).is_empty()
        });
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0], "{goes}");
    }

    // Without the bus all that is on the disk comes back; what systemd runs does when it can be spoken to again.
    assert_eq!(host.stead(&arguments).code, Some(0));
    host.run_ok(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    let said = host.stead(&["revert"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.err.contains("unit:mine.service"), "{said:?}");
    assert!(!said.err.contains("residue: file:"), "{said:?}");
    assert!(
        host.get("/srv/large")
            .is_some_and(|text| text.len() > 3_000_000)
    );
    sleep(Duration::from_secs(5));
    let history = host.stead(&["history"]).out;
    let says = history.contains("rolling back") && history.contains("unit:mine.service");
    assert!(says, "{history}");
    host.run_ok(&["systemctl", "start", "dbus.socket"]);
    wait_until("the bus is back", || {
        exit_of_latest_run(&host) == "7" && watchdogs(&host).is_empty()
    });
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    // An error of the disk in the middle of rollback, at one call after the other.
    for number in [1, 3, 5] {
        assert_eq!(host.stead(&arguments).code, Some(0));
        let inject = format!("error=EIO:when={number}+");
        let mut injected = host.stead_injected(&CALLS.join(","), &inject, &[], &["revert"]);
        let said = CommandOutput::from(injected.output().unwrap());
        assert_ne!(said.code, Some(0), "{said:?}");
        if host.stead(&["history"]).out.contains("not confirmed yet") {
            // It could not even be recorded that the run is rolled back, and so nothing was done.
            assert_eq!(said.code, Some(1), "{said:?}");
            assert_ne!(difference(&start, &host.fingerprint()), [""; 0]);
            assert_eq!(host.stead(&["revert"]).code, Some(0));
        }
        wait_until_rolled_back(&host);
        assert_eq!(difference(&start, &host.fingerprint()), [""; 0], "{number}");
    }
}
