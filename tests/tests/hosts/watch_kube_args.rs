//! `stead watch` and the arguments of a real MicroK8s: files are put back, and services are restarted for it three times an hour.

use e2e::{Host, Image, TestEnv, standin, wait_for, wait_until, watch_benchmark::main_process};

const SPEC: &str = "/root/host.kdl";
const PROXY: &str = "/var/snap/microk8s/current/args/kube-proxy";
const KUBELITE: &str = "snap.microk8s.daemon-kubelite.service";
const WANTED: &str = "127.0.0.1:10301";
const OTHER: &str = "127.0.0.1:10302";

fn boot() -> Host {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    wait_until("kube-proxy is up", || {
        proxy_answers_at(&host, "127.0.0.1:10249")
    });
    let resources = format!(
        "kube-args \"kube-proxy\" {{ metrics-bind-address \"{WANTED}\"; }}\nhook \"watch\""
    );
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    wait_for(|| match journal(&host) {
        said if said.contains("Watching 2 resources") => Ok(()),
        said => Err(said),
    });
    wait_until_refresh_hook_has_run(&host);
    host
}

/// MicroK8s runs the new hook within seconds, and that restores as well: an edit before it would be restored by it, not by the watch.
fn wait_until_refresh_hook_has_run(host: &Host) {
    wait_until("the hook has seen the revision", || {
        host.run(&["test", "-e", "/run/stead/seen-revision"]).code == Some(0)
    });
    // Joins the start that the hook has asked for, and waits for its end.
    host.run_ok(&["systemctl", "start", "stead-restore@snap-refresh.service"]);
}

/// Whether kube-proxy tells of itself at an address: that is what it was started with.
fn proxy_answers_at(host: &Host, address: &str) -> bool {
    let url = format!("http://{address}/proxyMode");
    let said = host.run(&["curl", "--silent", "--fail", "--max-time", "2", &url]);
    said.code == Some(0)
}

fn edit_args(host: &Host) {
    host.run_ok(&["sed", "-i", &format!("s/{WANTED}/{OTHER}/"), PROXY]);
}

fn args_contain(host: &Host, address: &str) -> bool {
    host.get(PROXY).unwrap_or_default().contains(address)
}

/// Edits the file and restarts its reader, both before the watch gets to look.
fn edit_and_restart(host: &Host) {
    let watch = main_process(host);
    host.run_ok(&["kill", "-STOP", &watch]);
    edit_args(host);
    host.run_ok(&["systemctl", "restart", KUBELITE]);
    wait_until("it has read the edit", || proxy_answers_at(host, OTHER));
    host.run_ok(&["kill", "-CONT", &watch]);
}

fn invocation_id(host: &Host) -> String {
    let show = ["systemctl", "show", "--property=InvocationID", KUBELITE];
    host.run_ok(&show).out
}

fn journal(host: &Host) -> String {
    let unit = ["journalctl", "--unit=stead-watch", "--output=cat"];
    host.run_ok(&[&unit[..], &["--no-pager"]].concat()).out
}

/// Waits until the watch has said something so often.
fn wait_until_logged(host: &Host, text: &str, times: usize) {
    wait_for(|| match journal(host) {
        said if said.matches(text).count() == times => Ok(()),
        said => Err(said),
    });
}

const ARGS_RESTORED: &str = "Restored kube-args:kube-proxy ";
const RESTART_RESTORED: &str = "Restored restart:microk8s/kubernetes ";

#[test]
fn watch_restores_arguments_with_three_restarts_an_hour() {
    let host = boot();
    // What nobody has read yet needs no restart, however often.
    let first = invocation_id(&host);
    for time in 1..=4 {
        edit_args(&host);
        wait_until_logged(&host, ARGS_RESTORED, time);
        assert!(args_contain(&host, WANTED));
    }
    assert_eq!(invocation_id(&host), first);

    for time in 1..=3 {
        edit_and_restart(&host);
        wait_until_logged(&host, RESTART_RESTORED, time);
        assert!(args_contain(&host, WANTED));
        assert!(proxy_answers_at(&host, WANTED));
        host.stead_exits(&["plan", SPEC], 0);
    }
    edit_and_restart(&host);
    let other = invocation_id(&host);
    let why = "services were restarted for it 3 times within an hour";
    let restart = format!("No longer restoring restart:microk8s/kubernetes: {why}");
    wait_until_logged(&host, &restart, 1);
    let why = "it would require restart:microk8s/kubernetes";
    let args = format!("No longer restoring kube-args:kube-proxy: {why}");
    wait_until_logged(&host, &args, 1);
    let show = ["systemctl", "show", "--property=StatusText", "stead-watch"];
    let status = host.run_ok(&show).out;
    assert!(
        status.contains("NO LONGER RESTORING: kube-args:kube-proxy"),
        "{status}"
    );
    host.run_ok(&["touch", PROXY]);
    host.run_ok(&["sleep", "3"]);
    assert!(args_contain(&host, OTHER), "{}", journal(&host));
    assert_eq!(invocation_id(&host), other);
    let said = journal(&host);
    assert_eq!(said.matches(ARGS_RESTORED).count(), 7, "{said}");
    assert_eq!(said.matches(RESTART_RESTORED).count(), 3, "{said}");

    // A person may have it brought back, and that takes nothing up again.
    host.stead_exits(&["watch", "--once"], 0);
    assert!(proxy_answers_at(&host, WANTED));
    edit_args(&host);
    host.run_ok(&["sleep", "3"]);
    assert!(args_contain(&host, OTHER), "{}", journal(&host));

    // Whoever applies something has it taken up again.
    host.stead_exits(&["apply", "--yes", SPEC], 0);
    assert!(proxy_answers_at(&host, WANTED));
    edit_args(&host);
    wait_until_logged(&host, ARGS_RESTORED, 8);
}
