//! The stand-in for `MicroK8s`, on a booted host: its parts are the real programs of Kubernetes, and it has the habits of the real one.

use e2e::{Host, Image, TestEnv, standin, wait_for};

/// Installs a stand-in and waits until it is ready.
fn install(host: &Host, file: &str) {
    let file = format!("{}/{file}.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
}

/// Asks kube-proxy for its mode until it has one.
fn proxy_mode(host: &Host) -> String {
    wait_for(|| {
        let said = host.run(&["curl", "--silent", "http://127.0.0.1:10249/proxyMode"]);
        match said.code {
            Some(0) => Ok(said.out),
            _ => Err("kube-proxy does not answer".to_owned()),
        }
    })
}

/// Runs a command until it says what is expected.
fn wait_for_output(host: &Host, argv: &[&str], expected: &str) {
    wait_for(|| {
        let said = host.run(argv);
        let is_there = said.out.contains(expected);
        is_there
            .then_some(())
            .ok_or_else(|| format!("{argv:?}: {said:?}"))
    });
}

const KUBE_PROXY: &str = "/var/snap/microk8s/current/args/kube-proxy";

#[test]
fn microk8s_1_13_uses_userspace_until_its_flag_changes() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s-1.13_1");
    assert_eq!(proxy_mode(&host), "userspace");
    let args = host.get(KUBE_PROXY).expect("the install hook writes it");
    assert!(args.contains("--proxy-mode=\"userspace\""), "{args}");

    host.put(KUBE_PROXY, &args.replace("\"userspace\"", "iptables"));
    assert_eq!(
        proxy_mode(&host),
        "userspace",
        "the file alone does nothing"
    );
    host.run_ok(&["snap", "restart", "microk8s.daemon-proxy"]);
    assert_eq!(proxy_mode(&host), "iptables");
}

#[test]
fn disabling_old_istio_deletes_a_manual_install() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s-1.13_1");
    wait_for_output(
        &host,
        &["microk8s.status", "--wait-ready"],
        "istio: disabled",
    );
    host.put(
        "/root/istio.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: istio-mine, namespace: istio-system}\nspec: {containers: [{name: a, image: a}]}\n",
    );
    wait_for_output(
        &host,
        &["microk8s.kubectl", "apply", "-f", "/root/istio.yaml"],
        "pod/istio-mine",
    );
    wait_for_output(&host, &["microk8s.status"], "istio: enabled");
    host.run_ok(&["microk8s.disable", "istio"]);
    wait_for_output(&host, &["microk8s.status"], "istio: disabled");
    let left = host.run(&[
        "microk8s.kubectl",
        "get",
        "pods",
        "--all-namespaces",
        "--output=name",
    ]);
    assert_eq!(left.out, "");
}

#[test]
fn bad_flag_of_one_component_stops_kubelite() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s_1");
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    assert_eq!(proxy_mode(&host), "iptables");
    let args = host.get(KUBE_PROXY).expect("the install hook writes it");
    assert!(
        args.starts_with("--conntrack-max-per-core=0\n"),
        "edited at start: {args}"
    );
    // Obsolete flags go at start; quotes and text behind a value are no part of it.
    host.put(
        KUBE_PROXY,
        &format!("{args}--proxy-mode=userspace\n--logtostderr=true\n--bad-flag=\"1\"\n"),
    );
    host.run_ok(&["systemctl", "restart", "snap.microk8s.daemon-kubelite"]);
    wait_for_output(
        &host,
        &[
            "journalctl",
            "--unit=snap.microk8s.daemon-kubelite",
            "--output=cat",
        ],
        "unknown flag: --bad-flag",
    );
    // systemd starts it again, and until it finds the flag it runs: one answer has both.
    wait_for(|| {
        let said = host.run(&["microk8s", "status"]);
        let is_down = said.out.contains("microk8s is not running") && said.code == Some(1);
        is_down.then_some(()).ok_or_else(|| format!("{said:?}"))
    });
    let edited = host.get(KUBE_PROXY).expect("it is still there");
    assert!(
        !edited.contains("userspace") && !edited.contains("logtostderr"),
        "{edited}"
    );

    host.put(KUBE_PROXY, &args);
    host.run_ok(&["systemctl", "reset-failed", "snap.microk8s.daemon-kubelite"]);
    host.run_ok(&["systemctl", "restart", "snap.microk8s.daemon-kubelite"]);
    wait_for_output(&host, &["microk8s", "status"], "microk8s is running");
}

#[test]
fn standin_status_and_addons_match_microk8s() {
    let host = Host::boot(Image::Debian13);
    install(&host, "microk8s_1");
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    let code = |argv: &[&str]| host.run(argv).code;

    host.run_ok(&["microk8s", "enable", "dns", "192.0.2.53"]);
    wait_for_output(
        &host,
        &["microk8s", "status", "--format", "short"],
        "\ncore/dns: enabled\n",
    );
    let forward = host.run_ok(&[
        "microk8s",
        "kubectl",
        "get",
        "configmap",
        "coredns",
        "-n",
        "kube-system",
        "-o",
        "yaml",
    ]);
    assert!(
        forward.out.contains("forward . 192.0.2.53"),
        "{}",
        forward.out
    );
    let yaml = host.run_ok(&["microk8s", "status", "--format", "yaml"]).out;
    for part in [
        "microk8s:\n  running: True\nhigh-availability:\n  enabled: False\naddons:\n",
        "  - name: dns\n    repository: core\n    description: CoreDNS\n    version: 1.12.0\n    status: enabled\n",
        "    version:  \n",
    ] {
        assert!(yaml.contains(part), "{part}: {yaml}");
    }
    assert_eq!(
        host.run_ok(&["microk8s", "status", "--addon", "none-such"])
            .out,
        "disabled\n"
    );

    assert_eq!(code(&["microk8s", "enable", "none-such"]), Some(1));
    assert_eq!(code(&["microk8s", "enable", "core/none-such"]), Some(0));
    assert_eq!(
        code(&["microk8s", "enable", "metallb"]),
        Some(1),
        "it asks, and nobody answers"
    );
    let again = host.run_ok(&["microk8s", "enable", "dns", "192.0.2.54"]);
    assert!(
        again.out.contains("Addon core/dns is already enabled"),
        "{again:?}"
    );
    assert!(
        again.err.contains("Infer repository core for addon dns"),
        "{again:?}"
    );

    host.run_ok(&["microk8s", "enable", "community"]);
    let list = host
        .run_ok(&["microk8s", "addons", "repo", "list", "--format", "json"])
        .out;
    assert!(list.contains("\"name\": \"community\""), "{list}");

    host.run_ok(&["microk8s", "stop"]);
    let stopped = host.run_ok(&["microk8s", "status", "--format", "yaml"]);
    assert_eq!(stopped.out, "microk8s is not running, try microk8s start\n");
    assert_eq!(code(&["microk8s", "enable", "registry"]), Some(1));
    assert_eq!(
        host.run_ok(&["microk8s", "version"]).out,
        "MicroK8s v1.32.9 revision x1\n"
    );
}

#[test]
fn standin_follows_install_refresh_revert_and_removal() {
    let mut host = Host::boot(Image::Debian13);
    install(&host, "microk8s_1");
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    let ours = |host: &Host, program: &str| {
        let rules = host.run_ok(&[program, "-S", "FORWARD"]).out;
        rules.matches("generated for MicroK8s pods").count()
    };
    assert_eq!(
        [ours(&host, "iptables-legacy"), ours(&host, "iptables-nft")],
        [2, 2]
    );
    let hooks = "/var/snap/microk8s/common/hooks";
    for name in ["post-refresh.d", "reconcile.d"] {
        let hook = format!("{hooks}/{name}/50-mine");
        host.put(&hook, &format!("#!/bin/sh\ntouch /srv/{name}\n"));
        host.run_ok(&["chmod", "+x", &hook]);
    }
    wait_for_output(&host, &["ls", "/srv"], "reconcile.d");
    assert!(!host.run_ok(&["ls", "/srv"]).out.contains("post-refresh.d"));

    install(&host, "microk8s_2");
    host.run_ok(&["ls", "/srv/post-refresh.d"]);
    host.put(&format!("{KUBE_PROXY}.new"), "after the refresh");
    wait_for_output(
        &host,
        &["microk8s", "version"],
        "MicroK8s v1.33.5 revision x2",
    );
    host.run_ok(&["snap", "revert", "microk8s"]);
    wait_for_output(
        &host,
        &["microk8s", "version"],
        "MicroK8s v1.32.9 revision x1",
    );
    assert_eq!(
        host.get(&format!("{KUBE_PROXY}.new")),
        None,
        "the data of x2 stayed with x2"
    );

    host.reboot();
    host.run_ok(&["microk8s", "status", "--wait-ready", "--timeout", "60"]);
    assert_eq!(
        [ours(&host, "iptables-legacy"), ours(&host, "iptables-nft")],
        [2, 2]
    );
    host.run_ok(&["snap", "remove", "--purge", "microk8s"]);
    assert_eq!(
        [ours(&host, "iptables-legacy"), ours(&host, "iptables-nft")],
        [0, 0]
    );
}
