//! The fake snapd itself: it does what the real one cannot be made to do, and puts up with nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at the socket and stops at the first surprise"
)]

use std::{path::PathBuf, time::Duration};

use e2e::{FakeSnapd, Fault, Offer, World};
use serde_json::{Value, json};

struct Fake {
    snapd: FakeSnapd,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

fn fake(version: (u32, u32)) -> Fake {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("snapd.socket");
    let world = World::new(
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
        _folder: folder,
    }
}

impl Fake {
    /// Returns the answer, or `None` if nobody answers.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        self.snapd.ask(method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).unwrap()
    }

    fn post(&self, body: &Value) -> Value {
        self.ask("POST", "/v2/snaps/microk8s", Some(body)).unwrap()
    }

    /// Begins a change and looks at it until it has ended. Returns every look.
    fn change(&self, body: &Value) -> Vec<Value> {
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
fn a_download_has_a_size_and_shows_its_progress() {
    let fake = fake((2, 68));
    let found = fake.get("/v2/find?name=microk8s");
    assert_eq!(found["result"][0]["download-size"], 170_000_000);
    let looks =
        fake.change(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
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
fn a_change_that_fails_says_why_and_changes_nothing() {
    let fake = fake((2, 68));
    fake.snapd
        .inject(Fault::Error("the disk is full".to_owned()));
    let looks =
        fake.change(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
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
fn refusals_have_the_codes_and_kinds_of_snapd() {
    let fake = fake((2, 68));
    let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
    fake.snapd.inject(Fault::Conflict);
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
        .ask("POST", "/v2/snaps/none-such", Some(&install))
        .unwrap();
    assert_eq!(none["result"]["kind"], "snap-not-found");
    fake.change(&install);
    assert_eq!(
        fake.post(&install)["result"]["kind"],
        "snap-already-installed"
    );
    assert_eq!(
        fake.post(&json!({"action": "refresh"}))["result"]["kind"],
        "snap-no-update-available"
    );
    fake.change(&json!({"action": "refresh", "channel": "1.33/stable"}));
    fake.change(&json!({"action": "revert"}));
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
fn the_daemon_vanishes_in_the_middle_of_a_change_and_comes_back() {
    let fake = fake((2, 68));
    fake.snapd.inject(Fault::Vanish(Duration::from_secs(3)));
    let begun = fake.post(&json!({"action": "install", "classic": true, "channel": "1.32/stable"}));
    let path = format!("/v2/changes/{}", begun["change"].as_str().unwrap());
    fake.ask("GET", &path, None);
    let mut silences = 0;
    while fake
        .ask("GET", &path, None)
        .is_none_or(|look| look["result"]["ready"] == false)
    {
        silences += usize::from(!fake.socket.exists());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(silences > 0, "the socket was always there");
    assert_eq!(fake.get("/v2/snaps/microk8s")["result"]["revision"], "7");
}

#[test]
fn only_a_new_snapd_holds_a_single_snap() {
    let hold = json!({"action": "hold", "time": "forever", "hold-level": "general"});
    let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
    let new = fake((2, 58));
    new.change(&install);
    new.change(&hold);
    assert!(new.get("/v2/snaps/microk8s")["result"]["hold"].is_string());
    new.change(&json!({"action": "unhold"}));
    assert!(new.get("/v2/snaps/microk8s")["result"]["hold"].is_null());

    let old = fake((2, 57));
    old.change(&install);
    let said = old.post(&hold);
    assert_eq!(
        (&said["status-code"], &said["result"]["message"]),
        (&json!(400), &json!("unknown action hold"))
    );
}

#[test]
fn a_request_that_is_not_exact_is_complained_about() {
    let fake = fake((2, 68));
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
        let complaints = fake.snapd.take_complaints();
        assert_eq!(complaints.len(), 1, "{body}: {complaints:?}");
        assert!(complaints[0].contains(expected), "{body}: {complaints:?}");
    }
    fake.get("/v2/snaps?selcet=all");
    fake.get("/v2/snap");
    assert_eq!(fake.snapd.take_complaints().len(), 2);
}

#[test]
#[should_panic(expected = "requests that snapd does not know")]
fn a_test_with_a_wrong_request_fails() {
    let fake = fake((2, 68));
    fake.post(&json!({"action": "install", "clasic": true}));
}
