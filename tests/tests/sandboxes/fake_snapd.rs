//! The fake snapd itself: it does what the real one cannot be made to do, and puts up with nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at the socket and stops at the first surprise"
)]

use std::{path::PathBuf, time::Duration};

use e2e::{FakeSnapd, Offer, SnapdFault, SnapdState};
use serde_json::{Value, json};

struct Fake {
    snapd: FakeSnapd,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

fn start_fake(version: (u32, u32)) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("snapd.socket");
    let world = SnapdState::new(
        version,
        vec![
            Offer::microk8s("1.32/stable", "7"),
            Offer::microk8s("1.33/stable", "8"),
        ],
    );
    let snapd = FakeSnapd::start(&socket, world);
    Fake {
        snapd,
        socket,
        _folder: dir,
    }
}

impl Fake {
    /// Returns the answer, or `None` if nobody answers.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        self.snapd.request(method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        self.request("GET", path, None).unwrap()
    }

    fn post(&self, body: &Value) -> Value {
        self.request("POST", "/v2/snaps/microk8s", Some(body))
            .unwrap()
    }

    /// Begins a change and looks at it until it has ended. Returns every look.
    fn change_to_end(&self, body: &Value) -> Vec<Value> {
        let begun = self.post(body);
        assert_eq!(begun["status-code"], 202, "{begun}");
        let path = format!("/v2/changes/{}", begun["change"].as_str().unwrap());
        let mut looks = vec![];
        while looks
            .last()
            .is_none_or(|look: &Value| look["ready"] == false)
        {
            looks.push(self.get(&path)["result"].clone());
        }
        looks
    }
}

#[test]
fn fake_download_reports_size_and_progress() {
    let fake = start_fake((2, 68));
    let found = fake.get("/v2/find?name=microk8s");
    assert_eq!(found["result"][0]["download-size"], 170_000_000);
    let looks = fake
        .change_to_end(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
    let done: Vec<u64> = looks
        .iter()
        .map(|look| look["tasks"][1]["progress"]["done"].as_u64().unwrap())
        .collect();
    assert_eq!(done[..4], [0, 17_000_000, 34_000_000, 51_000_000]);
    assert_eq!(done.last(), Some(&170_000_000));
    let snap = fake.get("/v2/snaps/microk8s")["result"].clone();
    assert_eq!(
        (&snap["revision"], &snap["tracking-channel"]),
        (&json!("7"), &json!("1.32/stable"))
    );
    assert_eq!(fake.get("/v2/find?select=refresh")["result"], json!([]));
}

#[test]
fn fake_failed_change_reports_error_and_changes_nothing() {
    let fake = start_fake((2, 68));
    fake.snapd
        .inject(SnapdFault::Error("the disk is full".to_owned()));
    let looks = fake
        .change_to_end(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
    let end = looks.last().unwrap();
    assert_eq!(end["status"], "Error");
    assert!(
        end["err"].as_str().unwrap().contains("(the disk is full)"),
        "{end}"
    );
    assert_eq!(
        fake.get("/v2/snaps/microk8s")["result"]["kind"],
        "snap-not-found"
    );
}

#[test]
fn fake_errors_have_codes_and_kinds_of_snapd() {
    let fake = start_fake((2, 68));
    let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
    fake.snapd.inject(SnapdFault::Conflict);
    for (body, code, kind) in [
        (install.clone(), 409, "snap-change-conflict"),
        (json!({"action": "refresh"}), 400, "snap-not-installed"),
        (
            json!({"action": "install", "channel": "1.32/stable"}),
            400,
            "snap-needs-classic",
        ),
        (
            json!({"action": "install", "classic": true, "channel": "1.99/stable"}),
            404,
            "snap-channel-not-available",
        ),
        (
            json!({"action": "install", "classic": true, "revision": "99"}),
            404,
            "snap-revision-not-available",
        ),
    ] {
        let said = fake.post(&body);
        assert_eq!(
            (&said["status-code"], &said["result"]["kind"]),
            (&json!(code), &json!(kind)),
            "{body}"
        );
    }
    let none = fake
        .request("POST", "/v2/snaps/none-such", Some(&install))
        .unwrap();
    assert_eq!(none["result"]["kind"], "snap-not-found");
    fake.change_to_end(&install);
    assert_eq!(
        fake.post(&install)["result"]["kind"],
        "snap-already-installed"
    );
    assert_eq!(
        fake.post(&json!({"action": "refresh"}))["result"]["kind"],
        "snap-no-update-available"
    );
    fake.change_to_end(&json!({"action": "refresh", "channel": "1.33/stable"}));
    fake.change_to_end(&json!({"action": "revert"}));
    assert_eq!(fake.get("/v2/snaps/microk8s")["result"]["revision"], "7");
    assert_eq!(
        fake.get("/v2/snaps?select=all")["result"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn fake_daemon_vanishes_during_a_change_and_returns() {
    let fake = start_fake((2, 68));
    fake.snapd
        .inject(SnapdFault::Outage(Duration::from_secs(3)));
    let begun = fake.post(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
    let path = format!("/v2/changes/{}", begun["change"].as_str().unwrap());
    fake.request("GET", &path, None);
    let mut silences = 0;
    while fake
        .request("GET", &path, None)
        .is_none_or(|look| look["result"]["ready"] == false)
    {
        silences += usize::from(!fake.socket.exists());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(silences > 0, "the socket was always there");
    assert_eq!(fake.get("/v2/snaps/microk8s")["result"]["revision"], "7");
}

#[test]
fn fake_holds_single_snaps_from_2_58_on() {
    let hold = json!({"action": "hold", "time": "forever", "hold-level": "general"});
    let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
    let new = start_fake((2, 58));
    new.change_to_end(&install);
    new.change_to_end(&hold);
    assert!(new.get("/v2/snaps/microk8s")["result"]["hold"].is_string());
    new.change_to_end(&json!({"action": "unhold"}));
    assert!(new.get("/v2/snaps/microk8s")["result"]["hold"].is_null());

    let old = start_fake((2, 57));
    old.change_to_end(&install);
    let said = old.post(&hold);
    assert_eq!(
        (&said["status-code"], &said["result"]["message"]),
        (&json!(400), &json!("unknown action hold"))
    );
}

#[test]
fn fake_rejects_inexact_requests() {
    let fake = start_fake((2, 68));
    for (body, expected) in [
        (
            json!({"action": "install", "clasic": true}),
            "`install` has no field `clasic`",
        ),
        (
            json!({"action": "install", "classic": "true"}),
            "`classic` must not be \"true\"",
        ),
        (
            json!({"action": "install", "revision": 7}),
            "`revision` must not be 7",
        ),
        (json!({"action": "upgrade"}), "unknown action `upgrade`"),
        (
            json!({"action": "hold", "time": "forever"}),
            "`hold` needs `time` and `hold-level`",
        ),
        (
            json!({"action": "hold", "time": "soon", "hold-level": "general"}),
            "`time` is neither",
        ),
        (json!([]), "the body is no JSON object"),
    ] {
        assert_eq!(fake.post(&body)["status-code"], 400);
        let complaints = fake.snapd.take_bad_requests();
        assert_eq!(complaints.len(), 1, "{body}: {complaints:?}");
        assert!(complaints[0].contains(expected), "{body}: {complaints:?}");
    }
    fake.get("/v2/snaps?selcet=all");
    fake.get("/v2/snap");
    assert_eq!(fake.snapd.take_bad_requests().len(), 2);
}

#[test]
#[should_panic(expected = "requests that snapd does not know")]
fn fake_fails_the_test_after_a_bad_request() {
    let fake = start_fake((2, 68));
    fake.post(&json!({"action": "install", "clasic": true}));
}
