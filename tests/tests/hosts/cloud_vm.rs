//! A bare host becomes the one that `examples/hosts/cloud-vm.kdl` describes, word for word, and stays so.

use std::{collections::BTreeSet, time::Instant};

use e2e::{CommandOutput, Fingerprint, Host, Image, TestEnv, difference, wait_for};

const SPEC: &str = "/root/cloud-vm.kdl";

/// Asks the real kube-proxy, which takes some seconds to start.
fn proxy_mode(host: &Host) -> String {
    let url = "http://127.0.0.1:10249/proxyMode";
    let wait = ["--retry", "60", "--retry-delay", "1", "--retry-all-errors"];
    host.run_ok(&[&["curl", "--silent", "--fail"], &wait[..], &[url]].concat())
        .out
}

fn policy(host: &Host) -> String {
    let rules = host.run_ok(&["iptables-nft", "-S", "FORWARD"]).out;
    rules.lines().next().unwrap_or_default().to_owned()
}

/// Waits until nothing is left to do, without doing anything, and says how long that took.
fn wait_until_empty(host: &Host, after: &str) -> String {
    let begin = Instant::now();
    wait_for(|| {
        let said = host.stead(&["plan", SPEC]);
        if said.code == Some(0) {
            return Ok(());
        }
        let journal = ["journalctl", "--no-pager", "--unit", "stead-restore@*"];
        Err(format!("{said:?}\n{}", host.run(&journal).out))
    });
    let took = begin.elapsed().as_secs_f32();
    format!("as described {took:.1} s after {after}")
}

/// Applies the spec, and says for how much of the time stead computes itself. The rest is waiting: for snapd, for MicroK8s, for the
/// programs that it runs, for the disk. Printed, not judged: this build is not optimised, and the machine may be busy.
fn apply_and_measure(host: &Host) -> String {
    // A process that has ended and was not waited for yet still tells its times: those of its children apart, proc_pid_stat(5).
    const MEASURE: &str = r#"
import os, sys, time
begin = time.monotonic()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
wall = time.monotonic() - begin
with open(f"/proc/{child}/stat") as file:
    fields = file.read().rsplit(")", 1)[1].split()
ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15]]
print(ticks[0] + ticks[1], ticks[2] + ticks[3], wall)
sys.exit(ended.si_status)
"#;
    let stead = host.stead_path();
    let said = host.run_ok(&["python3", "-c", MEASURE, &stead, "apply", "--yes", SPEC]);
    let last = said.out.lines().last().unwrap_or_default();
    let seconds: Vec<f64> = last
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    let [own, children, wall] = seconds[..] else {
        panic!("three numbers, not {last:?}");
    };
    let share = own / wall * 100.0;
    format!(
        "the apply takes {wall:.1} s; stead computes for {own:.2} s of it ({share:.1} %), its programs for {children:.2} s"
    )
}

#[test]
fn cloud_vm_example_converges_and_stays() {
    let mut host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    host.reboot();
    assert_eq!(policy(&host), "-P FORWARD DROP", "dockerd did it");
    host.put(SPEC, include_str!("../../../examples/hosts/cloud-vm.kdl"));

    println!("{}", apply_and_measure(&host));
    host.stead_exits(&["plan", SPEC], 0);
    assert_eq!(proxy_mode(&host), "iptables");
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");
    for addon in ["core/dns", "core/hostpath-storage"] {
        // MicroK8s looks for a pod, which is made a moment after its deployment.
        wait_for(|| {
            let addons = host
                .run_ok(&["microk8s", "status", "--format", "short"])
                .out;
            let is_there = addons.contains(&format!("{addon}: enabled\n"));
            is_there.then_some(()).ok_or(addons)
        });
    }

    // A reboot, with the real dockerd.
    host.run_ok(&[
        "sed",
        "-i",
        "/ip_forward/d",
        "/etc/sysctl.d/99-zz-stead.conf",
    ]);
    host.reboot();
    println!("{}", wait_until_empty(&host, "a reboot"));
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");

    // Docker again, while the host runs.
    host.run_ok(&["systemctl", "stop", "docker.service"]);
    host.run_ok(&["iptables-nft", "-P", "FORWARD", "DROP"]);
    host.run_ok(&["systemctl", "start", "docker.service"]);
    println!("{}", wait_until_empty(&host, "Docker was started again"));
    assert_eq!(policy(&host), "-P FORWARD ACCEPT");

    // A refresh whose arguments are the defaults again.
    host.publish("microk8s", "microk8s_2", 2);
    host.run_ok(&["snap", "refresh", "microk8s", "--channel=1.32/stable"]);
    let args = "/var/snap/microk8s/current/args/kube-proxy";
    assert!(
        host.run_ok(&["snap", "list", "microk8s"])
            .out
            .contains("v1.33.5")
    );
    println!("{}", wait_until_empty(&host, "a refresh"));
    assert!(
        host.get(args)
            .unwrap_or_default()
            .contains("--proxy-mode=iptables")
    );
    assert_eq!(proxy_mode(&host), "iptables");

    // And back: the older arguments return, without the flag that was added since.
    host.run_ok(&[
        "sed",
        "-i",
        "/proxy-mode/d",
        "/var/snap/microk8s/1/args/kube-proxy",
    ]);
    host.run_ok(&["snap", "revert", "microk8s"]);
    println!("{}", wait_until_empty(&host, "a revert"));
    assert!(
        host.get(args)
            .unwrap_or_default()
            .contains("--proxy-mode=iptables")
    );
}

/// Says in what the host differs from before, in the words in which stead has to name it. The snap leaves these when it is removed.
fn leftovers(host: &Host, before: &Fingerprint) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut now = host.fingerprint();
    for (table, text) in &mut now {
        let Some((program, _)) = table.split_once("-save ") else {
            continue;
        };
        let mut others = String::new();
        for line in text.lines() {
            let whose = match line {
                line if line.contains("KUBE-") => "chains of kube-proxy",
                line if line.contains("generated for MicroK8s pods") => "rules for pods",
                line => {
                    others += line;
                    others.push('\n');
                    continue;
                }
            };
            names.insert(format!("{whose} in {program}"));
        }
        *text = others;
    }
    // A table in which nothing else was decided is as good as none.
    let decides = |line: &str| !(line.starts_with(':') && line.ends_with(" ACCEPT"));
    now.retain(|table, text| !table.contains("-save ") || text.lines().any(decides));
    for line in difference(before, &now) {
        names.insert(match line.split([' ', ':']).collect::<Vec<_>>()[..] {
            [file, ..]
                if ["/etc/group", "/etc/gshadow"]
                    .iter()
                    .any(|it| file.starts_with(it)) =>
            {
                "the group microk8s".to_owned()
            }
            ["sysctl", key, ..] => format!("the setting {key} at"),
            _ => line,
        });
    }
    names
}

/// Sees that a host is the one from the start, or that what is left of a run is named, all of it and nothing else. `known` is what
/// earlier runs left; `clean` is the exit code if nothing is left. Returns what is left now.
fn assert_rolled_back(
    host: &Host,
    start: &Fingerprint,
    mut known: BTreeSet<String>,
    said: &CommandOutput,
    clean: i32,
    what: &str,
) -> BTreeSet<String> {
    let left = leftovers(host, start);
    for name in left.iter().filter(|name| !known.contains(*name)) {
        assert!(
            said.err.contains(name.as_str()),
            "{what}: {name} is not named: {said:?}"
        );
    }
    let named = said.err.split("leaves ").nth(1);
    let named = named.and_then(|rest| rest.lines().next());
    for name in named.into_iter().flat_map(|names| names.split(", ")) {
        assert!(
            left.iter().any(|left| name.starts_with(left.as_str())),
            "{what}: {name} is not left: {left:?}"
        );
    }
    let expected = if named.is_some() { 4 } else { clean };
    assert_eq!(said.code, Some(expected), "{what}: {said:?}");
    known.extend(left);
    known
}

/// Starts an apply and kills it once it says `line`.
fn kill_at(host: &Host, line: &str) {
    let log = "/root/apply.log";
    let stead = host.stead_path();
    let script = format!("exec {stead} apply --yes {SPEC} >{log} 2>&1");
    let mut apply = host
        .command(&["sh", "-c", &script])
        .spawn()
        .expect("sh is on the host");
    wait_for(|| {
        let said = host.get(log).unwrap_or_default();
        said.contains(line).then_some(()).ok_or(said)
    });
    host.run(&["pkill", "-KILL", "-f", "apply --yes"]);
    drop(apply.wait());
    host.run_ok(&["rm", log]);
}

#[test]
fn recover_rolls_back_any_kill_and_restart_happens_once() {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.put(SPEC, include_str!("../../../examples/hosts/cloud-vm.kdl"));
    // The hooks would take a killed run back too; here one recovery is looked at.
    for reason in ["docker", "snap-refresh", "snap.microk8s.daemon-kubelite"] {
        let hook = format!("stead-restore@{reason}.service");
        host.run_ok(&["systemctl", "mask", "--runtime", &hook]);
    }
    let start = host.fingerprint();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for line in [
        ": snap:microk8s",
        ": kube-args:",
        ": hook:boot",
        ": hook:snap-refresh",
        ": restart:",
        ": addons:",
        "verifying",
    ] {
        kill_at(&host, line);
        let said = host.stead(&["recover"]);
        known = assert_rolled_back(&host, &start, known, &said, 0, line);
    }
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    let unit = "snap.microk8s.daemon-kubelite.service";
    let show = [
        "systemctl",
        "show",
        "--property=InvocationID",
        "--value",
        unit,
    ];
    let once = host.run_ok(&show).out;
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["watch", "--once"], 0);
    assert_eq!(host.run_ok(&show).out, once);
}

/// Ends a hook of the snap in failure, after all that it does.
const FAILING_SCRIPT: &str = "\necho 'this hook fails' >&2\nexit 1\n";

#[test]
fn snapd_error_rolls_back_the_earlier_steps() {
    let host = Host::boot(Image::Debian12);
    let spec = include_str!("../../../examples/hosts/cloud-vm.kdl");
    host.put(SPEC, spec);
    let install =
        include_str!("../../standin/microk8s/meta/hooks/install").to_owned() + FAILING_SCRIPT;
    // It runs when the services do already.
    let configure =
        include_str!("../../standin/microk8s/meta/hooks/configure").to_owned() + FAILING_SCRIPT;
    let post_refresh = "#!/bin/sh".to_owned() + FAILING_SCRIPT;
    for (hook, text) in [
        ("install", install),
        ("configure", configure),
        ("post-refresh", post_refresh),
    ] {
        let hook_file = format!("meta/hooks/{hook}");
        host.pack(hook, "microk8s_2", &[(&hook_file, &text)]);
    }
    let start = host.fingerprint();
    let mut known = BTreeSet::new();
    for (revision, hook) in [(1, "install"), (2, "configure")] {
        host.publish("microk8s", hook, revision);
        let said = host.stead(&["apply", "--yes", SPEC]);
        assert!(said.err.contains("this hook fails"), "{said:?}");
        known = assert_rolled_back(&host, &start, known, &said, 1, hook);
    }

    // A refresh that fails leaves the release, its arguments and its addons.
    host.publish("microk8s", "microk8s_1", 3);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    let before = host.settled_fingerprint();
    host.publish("microk8s", "post-refresh", 4);
    host.put(SPEC, &spec.replace("1.32/stable", "1.33/stable"));
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(said.err.contains("this hook fails"), "{said:?}");
    assert_eq!(difference(&before, &host.settled_fingerprint()), [""; 0]);
    host.put(SPEC, spec);
    host.stead_exits(&["plan", SPEC], 0);
}
