//! Arguments of MicroK8s and the restarts that they make due, on booted hosts.

use std::{process::Stdio, thread::sleep, time::Duration};

use e2e::{CommandOutput, Host, Image, TestEnv, difference, standin};

const SPEC: &str = "/root/host.kdl";
const PROXY: &str = "/var/snap/microk8s/current/args/kube-proxy";

fn boot(snap: &str) -> Host {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/{snap}.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    for _ in 0..300 {
        if proxy_mode(&host, 10249).code == Some(0) {
            return host;
        }
        sleep(Duration::from_millis(200));
    }
    panic!("kube-proxy does not come up: {}", host.console());
}

fn proxy_mode(host: &Host, port: u16) -> CommandOutput {
    let url = format!("http://127.0.0.1:{port}/proxyMode");
    host.run(&["curl", "--silent", "--fail", "--max-time", "2", &url])
}

fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Expects that a plan names a mistake of the spec, however its lines are broken.
fn assert_refused(host: &Host, fault: &str) {
    let said = host.stead_exits(&["plan", SPEC], 2);
    let flat = said.err.replace(['\n', '|', '│'], " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(fault), "{}", said.err);
}

fn invocation_id(host: &Host, service: &str) -> String {
    let unit = format!("snap.microk8s.{service}.service");
    host.run_ok(&[
        "systemctl",
        "show",
        "--property=InvocationID",
        "--value",
        &unit,
    ])
    .out
}

#[test]
fn changed_arguments_restart_once_and_are_undone() {
    let host = boot("microk8s_1");
    let start = host.get(PROXY).unwrap();
    write_spec(
        &host,
        "kube-args \"kube-proxy\" {
            profiling #null
            proxy-mode \"iptables\"
            metrics-bind-address \"127.0.0.1:10301\"
            healthz-bind-address \"127.0.0.1:10302\"
        }",
    );
    let said = host.stead_exits(&["plan", SPEC], 3);
    for part in [
        "↻ restart:microk8s/kubernetes",
        "restarts snap.microk8s.daemon-kubelite.service (about 20 s without it)",
        "1 restart.",
    ] {
        assert!(said.out.contains(part), "{}", said.out);
    }
    let first = invocation_id(&host, "daemon-kubelite");
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["plan", SPEC], 0);
    assert_eq!(proxy_mode(&host, 10301).out, "iptables");
    let told = host.run_ok(&["curl", "--silent", "http://127.0.0.1:10301/configz"]);
    for field in [
        r#""MetricsBindAddress":"127.0.0.1:10301""#,
        r#""HealthzBindAddress":"127.0.0.1:10302""#,
    ] {
        assert!(told.out.contains(field), "{told:?}");
    }
    let second = invocation_id(&host, "daemon-kubelite");
    assert_ne!(first, second);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    assert_eq!(invocation_id(&host, "daemon-kubelite"), second);

    // A touched file is no reason; a changed one is, even where the file says again what is wanted.
    host.run_ok(&["touch", PROXY]);
    host.stead_exits(&["plan", SPEC], 0);
    host.run_ok(&["sed", "-i", "s/10301/10303/", PROXY]);
    let said = host.stead_exits(&["plan", SPEC], 3);
    assert!(said.out.contains("~ kube-args:kube-proxy"), "{}", said.out);
    host.run_ok(&["sed", "-i", "s/10303/10301/", PROXY]);
    host.stead_exits(&["plan", SPEC], 0);

    host.stead_exits(&["undo", "--yes", "1"], 0);
    let there = host.get(PROXY).unwrap();
    let rest = |text: &str| -> Vec<String> {
        let own = |line: &&str| !line.contains("conntrack-max-per-core");
        text.lines().filter(own).map(str::to_owned).collect()
    };
    assert_eq!(rest(&there), rest(&start));
    assert_eq!(proxy_mode(&host, 10249).out, "iptables");
}

/// Expects that a plan restarts and changes nothing else.
fn assert_stale(host: &Host) {
    let said = host.stead_exits(&["plan", SPEC], 3);
    assert!(
        said.out.contains("↻") && !said.out.contains("~ kube-args"),
        "{}",
        said.out
    );
}

#[test]
fn stale_process_with_correct_file_is_a_difference() {
    let host = boot("microk8s_1");
    // Whatever the file was when it started: the process itself tells.
    write_spec(&host, "kube-args \"kube-proxy\" { profiling \"true\"; }");
    host.run_ok(&["sed", "-i", "s/profiling=false/profiling=true/", PROXY]);
    assert_stale(&host);
    host.run_ok(&["sed", "-i", "s/profiling=true/profiling=false/", PROXY]);
    // What it cannot be asked for is told by the age of the file.
    write_spec(
        &host,
        "kube-args \"kube-proxy\" {\n metrics-bind-address \"127.0.0.1:10301\"\n}",
    );
    sleep(Duration::from_secs(11));
    host.run_ok(&[
        "sed",
        "-i",
        "1i --metrics-bind-address=127.0.0.1:10301",
        PROXY,
    ]);
    assert_stale(&host);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    assert_eq!(proxy_mode(&host, 10301).out, "iptables");
    host.stead_exits(&["plan", SPEC], 0);
    check_due_restart_after_kills(&host);
}

/// Goes on with a host that has converged.
fn check_due_restart_after_kills(host: &Host) {
    // The hooks would take a killed run back too; here each recovery is looked at.
    for reason in ["snap-refresh", "snap.microk8s.daemon-kubelite"] {
        let hook = format!("stead-restore@{reason}.service");
        host.run_ok(&["systemctl", "mask", "--runtime", &hook]);
    }
    let first = start_count(host);

    // Killed when the file has been written and its directory is synced: the restart is still due.
    write_spec(
        host,
        "kube-args \"kube-proxy\" {\n metrics-bind-address \"127.0.0.1:10302\"\n}",
    );
    let dir = host.run_ok(&["readlink", "-f", PROXY.trim_end_matches("/kube-proxy")]);
    let dir = [dir.out.trim().to_owned()];
    let apply = ["apply", "--yes", SPEC];
    let mut killed = host.stead_injected("fsync", "signal=KILL:when=1", &dir, &apply);
    let said = CommandOutput::from(killed.output().expect("strace is on the host"));
    assert_eq!(said.code, None, "{said:?}");
    assert!(host.get(PROXY).unwrap_or_default().contains("10302"));
    assert_stale(host);
    assert_eq!(start_count(host), first);
    host.stead_exits(&apply, 0);
    assert_eq!(
        start_count(host),
        first + 1,
        "once, although it was due twice"
    );
    assert_eq!(proxy_mode(host, 10302).out, "iptables");

    // Killed when it has been restarted, before that was noted: rollback needs one more.
    write_spec(
        host,
        "kube-args \"kube-proxy\" {\n metrics-bind-address \"127.0.0.1:10303\"\n}",
    );
    let mut killed = host
        .command(&[&[&*host.stead_path()], &apply[..]].concat())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("stead is on the host");
    while start_count(host) == first + 1 {
        assert!(killed.try_wait().is_ok_and(|ended| ended.is_none()));
        sleep(Duration::from_millis(100));
    }
    host.run_ok(&["pkill", "-KILL", "-f", "apply --yes"]);
    drop(killed.wait());
    host.stead_exits(&["recover"], 0);
    assert_eq!(start_count(host), first + 3);
    assert_eq!(proxy_mode(host, 10302).out, "iptables");
    host.stead_exits(&apply, 0);
    assert_eq!(start_count(host), first + 4);
    assert_eq!(proxy_mode(host, 10303).out, "iptables");
    for nothing in [&apply[..], &["watch", "--once"]] {
        host.stead_exits(nothing, 0);
    }
    assert_eq!(start_count(host), first + 4);
}

/// Counts how often kubelite has been started.
fn start_count(host: &Host) -> usize {
    let unit = "snap.microk8s.daemon-kubelite.service";
    let fields = ["--output", "cat", "--grep", "^Started "];
    let said = host.run_ok(&[&["journalctl", "--quiet", "--unit", unit], &fields[..]].concat());
    said.out.lines().count()
}

#[test]
fn flag_that_breaks_the_daemon_is_rolled_back() {
    let host = boot("microk8s_1");
    let start = host.settled_fingerprint();
    write_spec(&host, "kube-args \"kube-proxy\" {\n no-such-flag \"1\"\n}");
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(
        said.err
            .contains("restart:microk8s/kubernetes: cannot start daemon-kubelite"),
        "{}",
        said.err
    );
    assert_eq!(proxy_mode(&host, 10249).out, "iptables");

    // An API server that runs and never becomes ready: it waits for resources that it was told not to serve.
    // Also the way back must come to its end within it, on a machine that is busy.
    let patience = "restart \"microk8s/kubernetes\" within=45\n";
    let never_ready =
        "kube-args \"kube-apiserver\" { runtime-config \"apiextensions.k8s.io/v1=false\"; }";
    write_spec(&host, &format!("{patience}{never_ready}"));
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(
        said.err.contains("after 45 s the API server") && said.err.contains("Rolled back"),
        "{}",
        said.err
    );
    let ready = host.run_ok(&["microk8s.kubectl", "get", "--raw", "/readyz"]);
    assert_eq!(ready.out, "ok");
    assert_eq!(
        difference(&start, &host.settled_fingerprint()),
        Vec::<String>::new()
    );

    // A kube-proxy that reads another file than the one that was edited: it runs, and tells that it is not what was wanted.
    host.run_ok(&["cp", PROXY, "/root/other"]);
    let kubelite = "/var/snap/microk8s/current/args/kubelite";
    let elsewhere = "s:proxy-args-file=.*:proxy-args-file=/root/other:";
    host.run_ok(&["sed", "-i", elsewhere, kubelite]);
    host.run_ok(&["snap", "restart", "microk8s.daemon-kubelite"]);
    let start = host.settled_fingerprint();
    write_spec(
        &host,
        &format!("{patience}kube-args \"kube-proxy\" {{ profiling \"true\"; }}"),
    );
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(
        said.err
            .contains("after 45 s kube-proxy runs with profiling false, not true"),
        "{}",
        said.err
    );
    assert_eq!(
        difference(&start, &host.settled_fingerprint()),
        Vec::<String>::new()
    );
}

#[test]
fn microk8s_1_13_switches_from_userspace_to_iptables() {
    let host = boot("microk8s-1.13_1");
    assert_eq!(proxy_mode(&host, 10249).out, "userspace");
    // Its programs can be asked what they take.
    for (resources, fault) in [
        (
            "kube-args \"kube-proxy\" { no-such-flag \"1\"; }",
            "kube-proxy of this release would not start: unknown flag: --no-such-flag",
        ),
        (
            "kube-args \"kube-proxy\" { iptables-sync-period \"soon\"; }",
            "invalid argument \"soon\"",
        ),
        (
            "kube-args \"kube-apiserver\" { service-cluster-ip-range; }",
            "flag needs an argument: --service-cluster-ip-range",
        ),
    ] {
        write_spec(&host, resources);
        assert_refused(&host, fault);
    }
    write_spec(
        &host,
        "kube-args \"kube-proxy\" {\n proxy-mode \"iptables\"\n}",
    );
    let api = invocation_id(&host, "daemon-apiserver");
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    assert_eq!(proxy_mode(&host, 10249).out, "iptables");
    assert_eq!(
        invocation_id(&host, "daemon-apiserver"),
        api,
        "only kube-proxy restarts"
    );
    host.stead_exits(&["plan", SPEC], 0);
}

#[test]
fn invalid_arguments_are_rejected_at_planning() {
    let host = boot("microk8s_1");
    for (resources, fault) in [
        (
            "kube-args \"kube-proxy\" { a \"b c\"; }",
            "cannot be written there",
        ),
        (
            "kube-args \"kube-proxy\" { proxy-mode \"userspace\"; }",
            "removes the mode `userspace`",
        ),
        (
            "kube-args \"kube-proxy\" { proxy-mode \"iptable\"; }",
            "has no mode `iptable`",
        ),
        (
            "kube-args \"kubelet\" { resolv-conf \"/etc/resolv.conf\"; }",
            "MicroK8s itself sets",
        ),
        (
            "kube-args \"kube-dns\" { a \"b\"; }",
            "no argument file for `kube-dns`",
        ),
        (
            "kube-args \"kube-proxy\" { --a \"b\"; }",
            "without its dashes",
        ),
    ] {
        write_spec(&host, resources);
        assert_refused(&host, fault);
    }
    let good = "kube-args \"kube-apiserver\" { profiling \"true\"; }";
    write_spec(&host, good);
    let locks = "/var/snap/microk8s/current/var/lock";
    host.put(&format!("{locks}/clustered.lock"), "");
    let said = host.stead_exits(&["plan", SPEC], 2);
    assert!(said.err.contains("worker"), "{}", said.err);
    host.run_ok(&["rm", &format!("{locks}/clustered.lock")]);
    host.run_ok(&["microk8s.stop"]);
    let said = host.stead_exits(&["plan", SPEC], 2);
    assert!(said.err.contains("MicroK8s is stopped"), "{}", said.err);
}
