//! Snaps on a booted host: by channel from a store of its own with an older snapd, from files with holds with a newer one.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use e2e::{FakeSnapd, Host, Image, Offer, SnapdState, TestEnv, standin};
use serde_json::{Value, json};

/// Asks a snapd through its socket.
fn snapd_request(
    host: &Host,
    socket: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Value {
    let body = body.map(Value::to_string);
    let url = format!("http://localhost{path}");
    let mut argv = vec![
        "curl",
        "--silent",
        "--request",
        method,
        "--unix-socket",
        socket,
        &url,
    ];
    if let Some(body) = &body {
        argv.extend(["--header", "Content-Type: application/json", "--data", body]);
    }
    serde_json::from_str(&host.run_ok(&argv).out).unwrap()
}

/// Asks a snapd what the store would send, and returns the headers. The real one announces bytes that it does not send.
fn download_headers(host: &Host, socket: &str) -> String {
    let body = json!({"snap-name": "microk8s", "channel": "1.32/stable", "header-peek": true});
    let body = body.to_string();
    let mut argv = vec![
        "curl",
        "--silent",
        "--dump-header",
        "-",
        "--output",
        "/dev/null",
    ];
    argv.extend(["--unix-socket", socket, "--data", &body, "--max-time", "20"]);
    argv.extend([
        "--header",
        "Content-Type: application/json",
        "http://localhost/v2/download",
    ]);
    host.run(&argv).out
}

const SNAPD_SOCKET: &str = "/run/snapd.socket";

fn microk8s_snap(host: &Host) -> Value {
    snapd_request(host, SNAPD_SOCKET, "GET", "/v2/snaps/microk8s", None)["result"].clone()
}

/// Boots a host with a store and installs the first revision from it.
fn host_with_microk8s() -> Host {
    let host = Host::boot(Image::Debian12);
    host.publish("microk8s", "microk8s_1", 1);
    host.run_ok(&[
        "snap",
        "install",
        "microk8s",
        "--classic",
        "--channel=1.32/stable",
    ]);
    host
}

#[test]
fn store_serves_install_refresh_and_revert() {
    let host = host_with_microk8s();
    let snap = microk8s_snap(&host);
    assert_eq!(
        (&snap["revision"], &snap["tracking-channel"]),
        (&json!("1"), &json!("1.32/stable"))
    );
    assert_eq!(snap["publisher"]["validation"], "verified");

    host.publish("microk8s", "microk8s_2", 2);
    let list = host.run_ok(&["snap", "refresh", "--list"]).out;
    assert!(list.contains("v1.33.5"), "{list}");
    host.run_ok(&["snap", "refresh", "microk8s", "--channel=1.33/stable"]);
    let snap = microk8s_snap(&host);
    assert_eq!(
        (&snap["revision"], &snap["tracking-channel"]),
        (&json!("2"), &json!("1.33/stable"))
    );
    host.run_ok(&["snap", "revert", "microk8s"]);
    assert_eq!(microk8s_snap(&host)["revision"], "1");
    let kept = snapd_request(
        &host,
        SNAPD_SOCKET,
        "GET",
        "/v2/snaps?select=all&snaps=microk8s",
        None,
    );
    assert_eq!(kept["result"].as_array().unwrap().len(), 2);

    let hold = host.run(&["snap", "refresh", "--hold", "microk8s"]);
    assert_ne!(hold.code, Some(0), "this snapd holds no single snap");
}

#[test]
fn newer_snapd_holds_a_single_snap() {
    let host = Host::boot(Image::Debian13);
    let file = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &file]);
    host.run_ok(&["snap", "refresh", "--hold", "microk8s"]);
    assert!(microk8s_snap(&host)["hold"].is_string());
    host.run_ok(&["snap", "refresh", "--unhold", "microk8s"]);
    assert!(microk8s_snap(&host)["hold"].is_null());
}

/// What the fake answers is what the real one answers, wherever both can be asked.
#[test]
fn fake_snapd_answers_like_the_real_one() {
    let host = host_with_microk8s();
    let offer = Offer {
        version: "v1.32.9".to_owned(),
        ..Offer::microk8s("1.32/stable", "1")
    };
    let socket = host.outside_path("/root/snapd.socket");
    let fake = FakeSnapd::start(&socket, SnapdState::new((2, 57), vec![offer]));
    let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
    let begun = snapd_request(
        &host,
        "/root/snapd.socket",
        "POST",
        "/v2/snaps/microk8s",
        Some(&install),
    );
    let change = format!("/v2/changes/{}", begun["change"].as_str().unwrap());
    while snapd_request(&host, "/root/snapd.socket", "GET", &change, None)["result"]["ready"]
        == false
    {}

    let absent = "/v2/snaps/none-such";
    let present = "/v2/snaps/microk8s";
    let hold = json!({"action": "hold", "time": "forever", "hold-level": "general"});
    let mut others = vec![];
    for (method, path, body) in [
        ("GET", present, None),
        ("GET", absent, None),
        ("GET", "/v2/changes/none-such", None),
        ("GET", "/v2/changes?select=in-progress&for=microk8s", None),
        ("GET", "/v2/snaps/microk8s/conf?keys=none-such", None),
        ("GET", "/v2/apps?names=none-such", None),
        ("POST", present, Some(&install)),
        ("POST", present, Some(&hold)),
        ("POST", present, Some(&json!({"action": "refresh"}))),
        ("POST", present, Some(&json!({"action": "revert"}))),
        ("POST", absent, Some(&json!({"action": "remove"}))),
        ("POST", absent, Some(&json!({"action": "refresh"}))),
        (
            "POST",
            absent,
            Some(&json!({"action": "switch", "channel": "1.32/stable"})),
        ),
    ] {
        let real = snapd_request(&host, SNAPD_SOCKET, method, path, body);
        let ours = snapd_request(&host, "/root/snapd.socket", method, path, body);
        let mut same = ["status-code", "type"]
            .iter()
            .all(|field| real[field] == ours[field]);
        same &= real["result"]["kind"] == ours["result"]["kind"];
        // It knows less, but what it knows has the names and types of the real one.
        for (field, value) in ours["result"].as_object().into_iter().flatten() {
            let theirs = &real["result"][field];
            same &= std::mem::discriminant(theirs) == std::mem::discriminant(value);
        }
        if !same {
            others.push(format!(
                "{method} {path} {body:?}\n  real {real}\n  fake {ours}"
            ));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    for announced in
        [SNAPD_SOCKET, "/root/snapd.socket"].map(|socket| download_headers(&host, socket))
    {
        let lines: Vec<_> = announced.lines().map(str::to_lowercase).collect();
        let has = |line: &str| lines.iter().any(|said| said.starts_with(line));
        assert!(
            has("http/1.1 200 ")
                && has("content-disposition: attachment; filename=microk8s_1.snap")
                && has("snap-length: "),
            "{announced}"
        );
    }
    drop(fake);
}
