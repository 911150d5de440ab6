//! Addons of `MicroK8s` on a booted host: whose objects are whose, and what a script that fails leaves.

use e2e::{Host, Image, TestEnv, standin, wait_for, wait_until};

const SPEC: &str = "/root/host.kdl";
const REPOSITORY: &str = "/root/addons";

fn boot() -> Host {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    host
}

fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Plans and says what was said, in one line.
fn plan_error(host: &Host, resources: &str) -> String {
    write_spec(host, resources);
    let said = host.stead_exits(&["plan", SPEC], 2);
    let flat = said.err.replace(['\n', '|', '│'], " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    // A line that is too long is broken after a slash, too.
    flat.replace("/ ", "/")
}

fn kubectl(host: &Host, arguments: &[&str]) -> String {
    host.run_ok(&[&["microk8s", "kubectl"], arguments].concat())
        .out
}

/// Names what is in the cluster, apart from what Kubernetes makes by itself.
fn objects(host: &Host) -> Vec<String> {
    let kinds = "namespaces,deployments,daemonsets,services,configmaps,storageclasses,ingressclasses,customresourcedefinitions";
    let columns =
        "--output=custom-columns=A:.kind,B:.metadata.namespace,C:.metadata.name,D:.metadata.uid";
    let all = kubectl(
        host,
        &["get", kinds, "--all-namespaces", "--no-headers", columns],
    );
    let lines = all
        .lines()
        .filter(|line| !line.contains("kube-root-ca.crt"));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> = lines.map(words).collect();
    lines.sort();
    lines
}

fn create_objects(host: &Host, manifest: &str) {
    host.put("/root/mine.yaml", manifest);
    let create = ["microk8s", "kubectl", "create", "-f", "/root/mine.yaml"];
    wait_until("the cluster takes objects", || {
        host.run(&create).code == Some(0)
    });
}

fn deployment(name: &str, namespace: &str, app: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\n\
         spec:\n  selector: {{matchLabels: {{app: {app}}}}}\n  template:\n    metadata: {{labels: {{app: {app}}}}}\n    \
         spec: {{containers: [{{name: a, image: \"{image}\"}}]}}\n---\n"
    )
}

fn check_forwards_to(host: &Host, servers: &str) {
    let map = [
        "get",
        "configmap",
        "coredns",
        "-n",
        "kube-system",
        "-o",
        "yaml",
    ];
    let map = kubectl(host, &map);
    assert!(map.contains(&format!("forward . {servers}\n")), "{map}");
}

#[test]
fn addons_are_enabled_verified_changed_and_undone() {
    let host = boot();
    let start = objects(&host);
    let kubelet = "/var/snap/microk8s/current/args/kubelet";
    let arguments = host.get(kubelet);
    write_spec(
        &host,
        "addons \"microk8s\" exclusive=#true {\n dns \"192.0.2.53,192.0.2.54\"\n hostpath-storage\n}",
    );
    let said = host.stead_exits(&["plan", SPEC], 3);
    assert!(
        said.out
            .contains("core/dns               \"192.0.2.53,192.0.2.54\""),
        "{}",
        said.out
    );
    assert!(said.out.contains("restarts snap.microk8s.daemon-kubelite"));
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["plan", SPEC], 0);
    check_forwards_to(&host, "192.0.2.53 192.0.2.54");
    let status = host
        .run_ok(&["microk8s", "status", "--format", "short"])
        .out;
    assert!(
        status.contains("core/hostpath-storage: enabled"),
        "{status}"
    );

    // A hand in the Corefile is drift, and so is an object that has gone: MicroK8s sees neither.
    let map = kubectl(
        &host,
        &[
            "get",
            "configmap",
            "coredns",
            "-n",
            "kube-system",
            "-o",
            "yaml",
        ],
    );
    host.put("/root/map.yaml", &map.replace("192.0.2.54", "192.0.2.99"));
    kubectl(&host, &["replace", "-f", "/root/map.yaml"]);
    let said = host.stead_exits(&["plan", SPEC], 3);
    let change = "\"192.0.2.53,192.0.2.99\" → \"192.0.2.53,192.0.2.54\"";
    assert!(said.out.contains(change), "{}", said.out);
    assert!(
        said.out
            .contains("core/dns is disabled and enabled again to change its arguments"),
        "{}",
        said.out
    );
    kubectl(
        &host,
        &["delete", "service", "kube-dns", "-n", "kube-system"],
    );
    let said = host.stead_exits(&["plan", SPEC], 3);
    let broken = "core/dns is broken: these are missing: Service kube-system/kube-dns";
    assert!(said.out.contains(broken), "{}", said.out);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    check_forwards_to(&host, "192.0.2.53 192.0.2.54");
    kubectl(&host, &["get", "service", "kube-dns", "-n", "kube-system"]);

    // What a hand enabled is named and stays; what stead enabled and is not wanted any more goes.
    host.run_ok(&["microk8s", "enable", "ingress"]);
    write_spec(&host, "addons \"microk8s\" exclusive=#true {\n dns\n}");
    let said = host.stead_exits(&["plan", SPEC], 3);
    let stays = "core/ingress was not enabled by stead and stays enabled";
    assert!(said.out.contains(stays), "{}", said.out);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["plan", SPEC], 0);
    check_forwards_to(&host, "192.0.2.53 192.0.2.54");
    let status = host
        .run_ok(&["microk8s", "status", "--format", "short"])
        .out;
    assert!(
        status.contains("core/hostpath-storage: disabled"),
        "{status}"
    );
    assert!(status.contains("core/ingress: enabled"), "{status}");

    // The runs are rolled back in turn: 3 disabled, 2 mended, 1 enabled.
    host.stead_exits(&["undo", "--yes", "3"], 0);
    let status = host
        .run_ok(&["microk8s", "status", "--format", "short"])
        .out;
    assert!(
        status.contains("core/hostpath-storage: enabled"),
        "{status}"
    );
    write_spec(
        &host,
        "addons \"microk8s\" exclusive=#true {\n dns #null\n}",
    );
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.run_ok(&["microk8s", "disable", "ingress"]);
    wait_for(|| {
        let now = objects(&host);
        (now == start)
            .then_some(())
            .ok_or_else(|| format!("{start:#?}\n{now:#?}"))
    });
    assert_eq!(host.get(kubelet), arguments);
}

#[test]
fn manual_istio_is_no_addon_and_outlives_it() {
    let host = boot();
    host.run_ok(&["microk8s", "enable", "community"]);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n---\n";
    let own = deployment(
        "istiod",
        "istio-system",
        "istiod",
        "example.org/istio/pilot:1.20",
    );
    create_objects(&host, &format!("{namespace}{own}"));
    let start = objects(&host);

    // It is not the addon, whatever it is called, and the addon does not go over it.
    write_spec(
        &host,
        "addons \"microk8s\" exclusive=#true {\n community\n}",
    );
    let said = host.stead_exits(&["apply", "--yes", "--allow-irreversible", SPEC], 0);
    assert!(!said.out.contains("istio"), "{}", said.out);
    let said = plan_error(&host, "addons \"microk8s\" { istio; }");
    let way = "MicroK8s would mistake these for community/istio: Deployment istio-system/istiod";
    assert!(said.contains(way), "{said}");
    let portainer = "apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n---\n"
        .to_owned()
        + &deployment(
            "portainer",
            "elsewhere",
            "portainer",
            "example.org/portainer",
        );
    create_objects(&host, &portainer);
    write_spec(
        &host,
        "addons \"microk8s\" exclusive=#true {\n community\n}",
    );
    let said = host.stead_exits(&["plan", SPEC], 0);
    let mistaken = "MicroK8s reports community/portainer as enabled because of Deployment elsewhere/portainer, which does not belong to it";
    assert!(said.out.contains(mistaken), "{}", said.out);
    kubectl(&host, &["delete", "namespace", "elsewhere"]);
    assert_eq!(objects(&host), start);

    // The addon enabled, and another istio by hand beside it: disabling would purge both.
    kubectl(&host, &["delete", "namespace", "istio-system"]);
    write_spec(
        &host,
        "addons \"microk8s\" exclusive=#true {\n community\n istio\n}",
    );
    host.stead_exits(&["apply", "--yes", "--allow-irreversible", SPEC], 0);
    let elsewhere = "apiVersion: v1\nkind: Namespace\nmetadata: {name: mesh}\n---\n".to_owned()
        + &deployment(
            "istiod-mine",
            "mesh",
            "istiod",
            "example.org/istio/pilot:1.20",
        );
    create_objects(&host, &elsewhere);
    let both = objects(&host);
    let said = plan_error(
        &host,
        "addons \"microk8s\" exclusive=#true {\n community\n}",
    );
    let dies = "disabling community/istio would also delete objects of others: Deployment mesh/istiod-mine";
    assert!(said.contains(dies), "{said}");
    assert_eq!(objects(&host), both);
    // Moved elsewhere, it goes without; what stands beside it stays.
    kubectl(
        &host,
        &[
            "label",
            "deployment",
            "istiod-mine",
            "-n",
            "mesh",
            "--overwrite",
            "app=mine",
        ],
    );
    host.stead_exits(&["apply", "--yes", "--allow-irreversible", SPEC], 0);
    kubectl(&host, &["get", "deployment", "istiod-mine", "-n", "mesh"]);
    let left = objects(&host);
    assert!(
        !left.iter().any(|line| line.contains("istio-system")),
        "{left:#?}"
    );
}

/// Makes a repository of addons: one fails half way, one takes long, one has the name of another.
fn make_repository(host: &Host) {
    let mut listing = "microk8s-addons:\n  description: mine\n  addons:\n".to_owned();
    let half = "kubectl create namespace half\nkubectl create configmap a -n half\nset_arg kubelet --cluster-dns 192.0.2.1\n";
    for (name, script) in [
        (
            "half",
            format!("{half}echo 'the mirror does not answer'\nexit 1\n"),
        ),
        ("slow", format!("{half}touch /root/is-half\nsleep 600\n")),
        ("istio", "true\n".to_owned()),
        ("empty", "true\n".to_owned()),
    ] {
        let entry = format!(
            "  - name: {name}\n    description: mine\n    version: \"1\"\n    check_status: deployment.apps/{name}\n    supported_architectures: [amd64]\n"
        );
        listing.push_str(&entry);
        for (file, text) in [("enable", &*script), ("disable", "true\n")] {
            let path = format!("{REPOSITORY}/addons/{name}/{file}");
            host.put(
                &path,
                &format!("#!/bin/bash\n. \"$SNAP/lib/addon.sh\"\n{text}"),
            );
            host.run_ok(&["chmod", "+x", &path]);
        }
    }
    host.put(&format!("{REPOSITORY}/addons.yaml"), &listing);
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "--all"],
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@localhost",
            "commit",
            "--quiet",
            "--message=a",
        ],
        &["branch", "other"],
    ] {
        host.run_ok(&[&["git", "-C", REPOSITORY], arguments].concat());
    }
}

#[test]
fn failed_addon_script_is_rolled_back() {
    let host = boot();
    make_repository(&host);
    let repository = format!("addon-repo \"mine\" url=\"{REPOSITORY}\" reference=\"other\"");
    write_spec(&host, &repository);
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    host.stead_exits(&["plan", SPEC], 0);
    let clone = "/var/snap/microk8s/common/addons/mine";
    assert_eq!(
        host.run_ok(&["git", "-C", clone, "branch", "--show-current"])
            .out,
        "other\n"
    );
    let settled = || {
        wait_until("MicroK8s is ready", || {
            host.run(&["microk8s", "status"]).code == Some(0)
        });
        (objects(&host), host.fingerprint())
    };
    let (start, _) = settled();
    let kubelet = host.get("/var/snap/microk8s/current/args/kubelet");
    let as_before = |host: &Host| {
        assert_eq!(objects(host), start);
        assert_eq!(host.get("/var/snap/microk8s/current/args/kubelet"), kubelet);
    };

    // It fails half way, after dns was enabled.
    write_spec(
        &host,
        &format!("{repository}\naddons \"microk8s\" {{\n dns \"192.0.2.53\"\n \"mine/half\"\n}}"),
    );
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(said.err.contains("cannot enable mine/half"), "{}", said.err);
    assert!(
        said.err.contains("the mirror does not answer"),
        "{}",
        said.err
    );
    settled();
    as_before(&host);

    // It ends well, and nothing comes of it.
    write_spec(&host, "addons \"microk8s\" { \"mine/empty\"; }");
    let said = host.stead_exits(&["apply", "--yes", SPEC], 1);
    assert!(
        said.err.contains("succeeded, but created no objects"),
        "{}",
        said.err
    );
    as_before(&host);

    // stead is killed while it is half way.
    write_spec(&host, "addons \"microk8s\" { \"mine/slow\"; }");
    let path = host.stead_path();
    let mut run = host
        .command(&[&path, "apply", "--yes", SPEC])
        .spawn()
        .expect("stead is on the host");
    wait_until("the script is half way", || {
        host.get("/root/is-half").is_some()
    });
    host.run_ok(&["pkill", "-KILL", "-f", "apply --yes"]);
    host.run_ok(&["pkill", "-KILL", "-f", "addons/slow/enable"]);
    drop(run.wait());
    host.stead_exits(&["recover"], 0);
    settled();
    as_before(&host);

    check_bad_input(&host);
    as_before(&host);
    check_repositories(&host, clone);
}

/// What cannot be is known before.
fn check_bad_input(host: &Host) {
    for (resources, fault) in [
        ("addons \"microk8s\" { dsn; }", "did you mean `dns`?"),
        (
            "addons \"microk8s\" { \"mine/dns\"; }",
            "no repository has an addon `mine/dns`",
        ),
        (
            "addons \"microk8s\" { \"community/istio\"; }",
            "add `community`",
        ),
        (
            "addons \"microk8s\" { community; istio; }",
            "the addon `istio` is in several repositories",
        ),
        (
            "addons \"microk8s\" { helm3 #null; }",
            "is part of the snap and cannot be disabled",
        ),
        ("addons \"microk8s\" { dns:1.1.1.1; }", "contains a colon"),
        (
            "addons \"microk8s\" { dns; \"core/dns\"; }",
            "is written twice",
        ),
        (
            "addons \"other\" { dns; }",
            "not a cluster whose addons stead manages",
        ),
        (
            "addon-repo \"core\" absent=#true",
            "needs its repository `core`",
        ),
    ] {
        let said = plan_error(host, resources);
        assert!(said.contains(fault), "{resources}: {said}");
    }
    host.put("/var/snap/microk8s/current/var/lock/clustered.lock", "");
    let said = plan_error(host, "addons \"microk8s\" { dns; }");
    assert!(said.contains("worker"), "{said}");
    host.run_ok(&["rm", "/var/snap/microk8s/current/var/lock/clustered.lock"]);
    host.run_ok(&["microk8s", "stop"]);
    let said = plan_error(host, "addons \"microk8s\" { dns; }");
    assert!(said.contains("MicroK8s is stopped"), "{said}");
    host.run_ok(&["microk8s", "start"]);
}

/// A clone is made anew for another branch, and goes and comes back.
fn check_repositories(host: &Host, clone: &str) {
    write_spec(
        host,
        &format!("addon-repo \"mine\" url=\"{REPOSITORY}\" reference=\"main\""),
    );
    host.stead_exits(&["apply", "--yes", "--allow-irreversible", SPEC], 0);
    assert_eq!(
        host.run_ok(&["git", "-C", clone, "branch", "--show-current"])
            .out,
        "main\n"
    );
    host.stead_exits(
        &["undo", "--yes", "--allow-irreversible", &last_run(host)],
        0,
    );
    assert_eq!(
        host.run_ok(&["git", "-C", clone, "branch", "--show-current"])
            .out,
        "other\n"
    );
    write_spec(host, "addon-repo \"mine\" absent=#true");
    host.stead_exits(&["apply", "--yes", "--allow-irreversible", SPEC], 0);
    assert!(host.get(&format!("{clone}/addons.yaml")).is_none());
}

fn last_run(host: &Host) -> String {
    let history = host.stead_exits(&["history", "--json"], 0).out;
    let runs: Vec<u64> = history
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("\"run\": ")?
                .trim_end_matches(',')
                .parse()
                .ok()
        })
        .collect();
    runs.into_iter().max().expect("there are runs").to_string()
}
