//! `stead rehearse`: what it finds before it happens, and that the host below is left as it was.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and looks at this machine itself"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use e2e::{
    CommandOutput, Host, Image, Sandbox, TestEnv, difference, program, standin, wait_for,
    walk::{self, Share},
};
use serde_json::Value;

const SPEC: &str = "/root/host.kdl";
/// How many signals a sample has.
const SIGNAL_SAMPLE: usize = 8;

/// Everything of a host that a rehearsal might touch: all files with their times, mounts, units, processes, cgroups, namespaces of the
/// network. What the journal and logs say of the rehearsal itself is left out.
fn whole_host_state(host: &Host) -> BTreeMap<String, String> {
    const LOOK: &str = r#"
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log -o -path /var/tmp \) -prune -o -printf 'file %p\t%y %m %U:%G %s %T@ %C@ %l\n'
find /run -xdev \( -path /run/log -o -path /run/systemd/journal -o -path /run/systemd/units -o -path /run/systemd/transient \) -prune -o -printf 'file %p\t%y %m %U:%G\n'
find /tmp /var/tmp -xdev -printf 'file %p\t%y\n'
sed 's/^/mount /; s/$/\t/' /proc/self/mounts
find /sys/fs/cgroup -type d -name '*rehears*' -printf 'cgroup %p\t\n'
losetup --noheadings --output BACK-FILE | while read -r file; do [ ! -e "$file" ] || printf 'loop %s\t\n' "$file"; done
"#;
    let said = host.run_ok(&["sh", "-c", LOOK]).out;
    let mut found: BTreeMap<String, String> = said
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Written by those who look, by the clock, and by snapd whenever somebody asks it.
    let passing = [
        "/var/lib/systemd/timers",
        "/var/lib/snapd/state.json",
        "systemd-timedated",
    ];
    found.retain(|name, _| {
        name != "file /var/lib/snapd" && !passing.iter().any(|it| name.contains(it))
    });
    found.extend(
        processes(host)
            .into_iter()
            .map(|line| (line, String::new())),
    );
    found.extend(host.fingerprint());
    found
}

/// The processes that a rehearsal may have left: not those of the units of the host, which come and go by themselves, nor what looks at
/// the host from outside, nor what has ended and waits for its parent to hear of it.
fn processes(host: &Host) -> BTreeSet<String> {
    let proc = host.outside_path("/proc");
    let mut parents = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(&proc).unwrap() {
        let dir = entry.unwrap().path();
        let Some(process) = dir.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        // It may have gone meanwhile.
        let read = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let (stat, cgroup) = (read("stat"), read("cgroup"));
        let Some((_, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = fields.split(' ');
        let state = fields.next().unwrap();
        let parent: u32 = fields.next().unwrap().parse().unwrap();
        parents.insert(process, parent);
        let is_of_unit = cgroup.contains("/system.slice/") && !cgroup.contains("rehears");
        if !["Z", "X"].contains(&state) && !is_of_unit {
            lines.insert(
                process,
                format!("process {}", read("cmdline").replace('\0', " ")),
            );
        }
    }
    let begins_at_init = |process: &u32| {
        let mut process = *process;
        while process > 1 {
            process = parents.get(&process).copied().unwrap_or(0);
        }
        process == 1
    };
    lines.retain(|process, _| begins_at_init(process));
    lines.into_values().collect()
}

/// Rehearses, and says what came of it. The host must be as before.
fn rehearse(host: &Host, options: &[&str], code: i32) -> (CommandOutput, Value) {
    let before = whole_host_state(host);
    let mut words = vec!["rehearse", SPEC, "--json"];
    words.extend(options);
    let said = host.stead_exits(&words, code);
    assert_eq!(difference(&before, &whole_host_state(host)), [""; 0]);
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(report["holds"], code == 0, "{report:#}");
    (said, report)
}

/// Returns the names of what the report says under a key.
fn names(report: &Value, key: &str) -> Vec<String> {
    let name = |it: &Value| {
        it["name"]
            .as_str()
            .or(it["address"].as_str())
            .map(str::to_owned)
    };
    report[key]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(name)
        .collect()
}

/// Returns what a step changed beside its own.
fn files_of(report: &Value, address: &str) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    let is_it = |step: &&Value| {
        step["addresses"]
            .as_array()
            .unwrap()
            .contains(&address.into())
    };
    let step = steps
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{report:#}"));
    names(step, "files")
}

/// A unit of a spec that runs a script.
fn script_unit(name: &str, script: &str) -> String {
    format!(
        "unit \"{name}\" enabled=#true running=#true {{\n content \"\"\"\n  [Service]\n  Type=oneshot\n  RemainAfterExit=yes\n  \
         ExecStart=/bin/sh -c '{script}'\n  [Install]\n  WantedBy=multi-user.target\n\n  \"\"\"\n}}\n"
    )
}

#[test]
fn cloud_vm_example_passes_a_rehearsal_with_reboot() {
    let mut host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    host.reboot();
    host.put(SPEC, include_str!("../../../examples/hosts/cloud-vm.kdl"));
    host.settled_fingerprint();
    let (_, report) = rehearse(&host, &["--reboot"], 0);
    assert_eq!(names(&report, "refused"), [""; 0]);
    assert_eq!(names(&report, "left_out"), [""; 0]);
    assert_eq!(names(&report["reboot"], "lost"), [""; 0]);
    assert_eq!(report["outcome"]["outcome"], "done");
    let steps: Vec<String> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["addresses"].to_string())
        .collect();
    for address in [
        "snap:microk8s",
        "addons:microk8s",
        "iptables-policy:filter/FORWARD",
    ] {
        assert!(steps.iter().any(|step| step.contains(address)), "{steps:?}");
    }
    println!(
        "the clone is up after {} ms with {} bytes of memory, and {} ms after a reboot",
        report["up_ms"], report["memory"], report["reboot"]["up_ms"]
    );
}

#[test]
fn rehearsal_finds_failures_visible_only_at_run_time() {
    let host = Host::boot(Image::Debian13);

    // A unit that does not start.
    host.put(
        SPEC,
        &format!(
            "host \"a\" {{\n{}}}\n",
            script_unit("broken.service", "exit 3")
        ),
    );
    let (_, report) = rehearse(&host, &[], 1);
    assert_eq!(report["outcome"]["outcome"], "failed");
    assert!(
        report["outcome"]["cause"]
            .to_string()
            .contains("unit:broken.service"),
        "{report:#}"
    );
    assert_eq!(report["steps"][0]["is_done"], false);

    // A policy that something sets back at boot, after the hook.
    let back = script_unit(
        "back.service",
        "while sleep 0.2; do iptables-nft -P FORWARD DROP; done &",
    )
    .replace("Type=oneshot\n  RemainAfterExit=yes", "Type=forking")
    .replace(" running=#true", "");
    let policy = "iptables-policy \"filter/FORWARD\" \"ACCEPT\" backend=\"nft\"\n";
    host.put(SPEC, &format!("host \"a\" {{\n{policy}{back}}}\n"));
    let (_, report) = rehearse(&host, &["--reboot"], 1);
    assert_eq!(report["outcome"]["outcome"], "done");
    assert_eq!(
        names(&report["reboot"], "lost"),
        ["iptables-policy:filter/FORWARD"]
    );

    // What a service writes that nobody planned; and the copy that the package keeps of an account is none of that.
    let surprise = script_unit(
        "writer.service",
        "echo x > /var/lib/surprise; mkdir /opt/new; echo y > /opt/new/file",
    );
    host.put(
        SPEC,
        &format!("host \"a\" {{\n{surprise}group \"rehearsers\"\n}}\n"),
    );
    let (said, report) = rehearse(&host, &[], 0);
    assert_eq!(
        files_of(&report, "unit:writer.service"),
        ["/opt/new/file", "/var/lib/surprise"],
        "{said:?}"
    );
    assert_eq!(files_of(&report, "group:rehearsers"), [""; 0]);
}

#[test]
fn rehearsal_finds_a_failing_addon_script() {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    wait_for(|| {
        let said = host.run(&["microk8s", "kubectl", "get", "--raw", "/readyz"]);
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    });
    host.run_ok(&[
        "sh",
        "-c",
        "printf '#!/bin/sh\\necho it dies >&2\\nexit 9\\n' > /var/snap/microk8s/common/addons/core/addons/registry/enable",
    ]);
    host.put(
        SPEC,
        "host \"a\" {\n    addons \"microk8s\" {\n        registry\n    }\n}\n",
    );
    // Kubernetes itself goes on writing, so that not every file can be as before.
    let before = host.settled_fingerprint();
    let said = host.stead_exits(&["rehearse", SPEC, "--json"], 1);
    assert_eq!(difference(&before, &host.settled_fingerprint()), [""; 0]);
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let cause = report["outcome"]["cause"].to_string();
    assert!(cause.contains("addons:microk8s"), "{said:?}");
    assert!(cause.contains("it dies"), "{said:?}");
}

#[test]
fn rehearsal_with_kills_rolls_back_and_names_residue() {
    let host = Host::boot(Image::Debian13);
    let surprise = script_unit("writer.service", "echo x > /var/lib/surprise; sleep 1");
    host.put(
        SPEC,
        &format!(
            "host \"a\" {{\n sysctl \"net.ipv4.ip_forward\" \"1\"\n iptables-policy \"filter/FORWARD\" \"DROP\" persist=#false\n \
             file \"/etc/new\" {{ content \"x\\n\" }}\n{surprise}}}\n"
        ),
    );
    // On the disk, too: each clone has layers of its own there, and none stays.
    host.run_ok(&["mkdir", "-p", "/var/lib/docker/layers"]);
    let (said, report) = rehearse(
        &host,
        &[
            "--kill-at",
            "all",
            "--overlay-dir",
            "/var/lib/docker/layers",
        ],
        1,
    );
    assert_eq!(host.run_ok(&["ls", "-A", "/var/lib/docker/layers"]).out, "");
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), report["steps"].as_array().unwrap().len());
    for fault in faults {
        let left: Vec<String> = names(fault, "left");
        let is_writer = fault["addresses"].to_string().contains("writer.service");
        let expected: &[&str] = if is_writer {
            &["/var/lib/surprise"]
        } else {
            &[]
        };
        assert_eq!(left, expected, "{said:?}");
        assert_eq!(fault["fault"], Value::Null, "{said:?}");
        assert_ne!(fault["outcome"], Value::Null, "{said:?}");
    }
}

/// What a step in the clone tries: each that reaches the host, or gets out, leaves a file.
const ESCAPE_ATTEMPTS: &str = r#"
import os, socket, subprocess, sys
prefix = "".join(sys.argv[1:])
def tried(name, act):
    name = prefix + name
    open(f"/srv/tried-{name}", "w").close()
    try:
        act()
    except Exception as error:
        open(f"/srv/held-{name}", "w").write(str(error))
        return
    open(f"/srv/escaped-{name}", "w").close()
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def connect(kind, address):
    with socket.socket(kind, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        s.connect(address)
def disk():
    os.mknod(f"/srv/disk{prefix}", 0o600 | 0o060000, os.makedev(254, 0))
def host_file():
    if not os.path.exists("/run/only-on-host"):
        raise Exception("not there")
tried("sysctl", lambda: write("/proc/sys/vm/swappiness", "7"))
tried("sysrq", lambda: write("/proc/sysrq-trigger", "h"))
tried("module", lambda: subprocess.run(["modprobe", "dummy"], check=True, capture_output=True))
tried("abstract", lambda: connect(socket.AF_UNIX, "\0only-on-host"))
tried("network", lambda: connect(socket.AF_INET, ("127.0.0.1", 7777)))
tried("outside", lambda: connect(socket.AF_INET, ("10.77.0.1", 7777)))
tried("socket", lambda: connect(socket.AF_UNIX, "/srv/only-on-host"))
tried("shown", lambda: connect(socket.AF_UNIX, "/tmp/only-on-host"))
tried("disk", disk)
tried("run", host_file)
"#;

#[test]
fn rehearsed_step_cannot_reach_the_host() {
    const LISTEN: &str = r#"
import socket, threading, time
def serve(kind, address):
    s = socket.socket(kind, socket.SOCK_STREAM)
    s.bind(address); s.listen()
    while True:
        s.accept(); open("/root/reached", "a").write(repr(address))
for kind, address in [(socket.AF_UNIX, "\0only-on-host"), (socket.AF_UNIX, "/srv/only-on-host"), (socket.AF_UNIX, "/tmp/only-on-host"), (socket.AF_INET, ("127.0.0.1", 7777)), (socket.AF_INET, ("10.77.0.1", 7777))]:
    threading.Thread(target=serve, args=(kind, address), daemon=True).start()
time.sleep(100000)
"#;
    let host = Host::boot(Image::Debian13);
    host.run_ok(&["ip", "address", "add", "10.77.0.1/32", "dev", "lo"]);
    host.put("/root/listen.py", LISTEN);
    host.put("/root/escapes.py", ESCAPE_ATTEMPTS);
    host.put("/run/only-on-host", "");
    host.run_ok(&["systemd-run", "--unit=listen", "python3", "/root/listen.py"]);
    // On the host itself they all reach what they are for.
    wait_for(|| {
        let said = host.run(&[
            "python3",
            "-c",
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0only-on-host')",
        ]);
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    });
    assert!(host.get("/root/reached").unwrap().contains("only-on-host"));
    host.run_ok(&["rm", "/root/reached"]);
    let swappiness = host.get("/proc/sys/vm/swappiness");

    let script = "python3 /root/escapes.py; snap set system refresh.retain=9; systemctl --no-block stop listen.service";
    let unit = script_unit("escape.service", script);
    // The clone must see the directory of the spec.
    let spec = "/tmp/host.kdl";
    // A program that stead itself runs tries the same, before the run and after it.
    let check =
        "check \"escapes\" within=0 {\n exec \"python3\" \"/root/escapes.py\" \"stead-\"\n}\n";
    host.put(spec, &format!("host \"a\" {{\n{unit}{check}}}\n"));
    let before = whole_host_state(&host);
    let said = host.run(&["stead", "rehearse", spec, "--json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let mut files = files_of(&report, "unit:escape.service");
    files.extend(names(&report, "unplanned"));
    files.sort();
    files.dedup();
    let count = |word: &str| files.iter().filter(|name| name.contains(word)).count();
    assert_eq!(count("/srv/tried-"), 20, "{report:#}");
    assert_eq!(count("/srv/held-"), 20, "{report:#}");
    assert_eq!(count("/srv/escaped-"), 0, "{report:#}");
    assert!(host.run(&["test", "-e", "/root/reached"]).code != Some(0));
    assert_eq!(host.get("/proc/sys/vm/swappiness"), swappiness);
    assert_eq!(
        host.run_ok(&["systemctl", "is-active", "listen"]).out,
        "active\n"
    );
    assert_eq!(difference(&before, &whole_host_state(&host)), [""; 0]);
}

#[test]
fn rehearse_leaves_nothing_after_a_signal_at_any_time() {
    let host = Host::boot(Image::Debian13);
    let slow = script_unit("slow.service", "sleep 2");
    host.put(
        SPEC,
        &format!("host \"a\" {{\n file \"/etc/new\" {{ content \"x\\n\" }}\n{slow}}}\n"),
    );
    rehearse(&host, &[], 0);
    let before = whole_host_state(&host);
    let delays = [10, 150, 400, 900, 1800, 3500, 5500];
    let signals = ["INT", "KILL", "TERM"];
    let cases = signals.map(|signal| delays.map(|delay| (signal, delay)));
    let cases: Vec<_> = cases.into_iter().flatten().collect();
    // Each signal and each delay at least once.
    let sorts: Vec<_> = cases
        .iter()
        .map(|(signal, delay)| BTreeSet::from([(*signal).to_owned(), delay.to_string()]))
        .collect();
    for case in walk::sample(
        "signals to a rehearsal",
        Share::WHOLE,
        &sorts,
        SIGNAL_SAMPLE,
    ) {
        let (signal, delay) = cases[case];
        let mut child = host
            .command(&["stead", "rehearse", SPEC, "--reboot"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(delay));
        let kill = [
            "pkill",
            &format!("-{signal}"),
            "--exact",
            "--full",
            &format!("stead rehearse {SPEC} --reboot"),
        ];
        host.run(&kill);
        child.wait().unwrap();
        if signal == "KILL" {
            // What a kill leaves goes by itself, but for an empty directory, which the next start takes away.
            wait_for(|| {
                let said = host.run(&["pgrep", "--full", "clone hold"]);
                if said.code == Some(1) {
                    Ok(())
                } else {
                    Err(format!("{said:?}"))
                }
            });
            host.run(&["rmdir", "/run/stead/rehearsal", "/run/stead"]);
        }
        wait_for(|| {
            let left = difference(&before, &whole_host_state(&host));
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{signal} after {delay} ms: {left:#?}"))
            }
        });
    }
    rehearse(&host, &[], 0);
}

/// This machine, but for directories of its own where others write while a test runs.
fn sandboxed_machine() -> Sandbox {
    let sandbox = Sandbox::bare();
    for dir in ["/opt", "/usr/local"] {
        sandbox.run_ok(&["mount", "-t", "tmpfs", "tmpfs", dir]);
    }
    sandbox
}

/// Rehearses the cloud VM on this machine, and sees that nothing of it is touched.
fn rehearse_on_machine(sandbox: &Sandbox, argv: &[&str]) -> Value {
    let look = || {
        let look = "find /etc /srv /opt /usr/local /var/lib -xdev -printf '%p %y %m %U:%G %s %T@ %C@ %l\n'; \
                    for save in iptables-nft-save iptables-legacy-save ip6tables-nft-save ip6tables-legacy-save; do $save | grep -v '^[#:]'; done; \
                    sysctl -a --pattern '^(net|vm|kernel)\\.' 2>/dev/null | grep -v -e random -e _count -e ns_last_pid -e pty.nr; \
                    ls -d /sys/fs/cgroup/*rehears* /sys/fs/cgroup/*/*rehears* /run/stead /run/systemd/nspawn 2>/dev/null; cat /proc/self/mounts; \
                    ps -e -o args= | grep -e 'clone hold.*cloud-vm' -e 'clone idle'";
        let text = sandbox.run(&["sh", "-c", look]).out;
        // The one that looks.
        text.lines()
            .filter(|line| !line.contains("grep"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let before = look();
    let said = sandbox.run(argv);
    let after = look();
    assert!(before.contains("net.ipv4.ip_forward"), "{before}");
    for (one, other) in before.lines().zip(after.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(before.lines().count(), after.lines().count());
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let has_snapd = std::path::Path::new("/usr/bin/snap").exists();
    assert!(!has_snapd, "this test is for a machine without snapd");
    assert_eq!(names(&report, "refused"), ["snap:microk8s"], "{report:#}");
    assert!(names(&report, "left_out").contains(&"addons:microk8s".to_owned()));
    assert_eq!(said.code, Some(1));
    assert_eq!(report["outcome"]["outcome"], "done");
    assert_eq!(names(&report, "pending"), [""; 0]);
    report
}

const CLOUD_VM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/hosts/cloud-vm.kdl"
);

/// One after the other: there is one rehearsal at a time on a host.
#[test]
fn rehearsal_runs_on_a_plain_machine_with_and_without_init() {
    let stead = program("stead").display().to_string();
    // The cgroup of a rehearsal has one name on the whole machine, whoever tests there as well.
    let alone = File::create(std::env::temp_dir().join("stead-tests-rehearsal.lock")).unwrap();
    alone.lock().unwrap();
    let sandbox = sandboxed_machine();
    let report = rehearse_on_machine(
        &sandbox,
        &[&stead, "rehearse", CLOUD_VM, "--reboot", "--json"],
    );
    assert_eq!(names(&report["reboot"], "lost"), [""; 0]);

    // As on a machine where systemd-nspawn is not installed.
    let hidden = "mount --bind /dev/null /usr/bin/systemd-nspawn && exec \"$@\"";
    let without = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        hidden,
        "sh",
    ];
    let argv = [&without[..], &[&stead, "rehearse", CLOUD_VM, "--json"]].concat();
    let report = rehearse_on_machine(&sandbox, &argv);
    let differences = report["differences"].to_string();
    assert!(
        differences.contains("it has no init, because systemd-nspawn is not installed"),
        "{report:#}"
    );
    let argv = [&without[..], &[&stead, "rehearse", CLOUD_VM, "--reboot"]].concat();
    let said = sandbox.run(&argv);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("install the package `systemd-container`"),
        "{said:?}"
    );
}
