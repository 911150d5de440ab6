//! stead and a snapd that fails, is busy, goes away and comes back: what a real one cannot be made to do.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test runs the program and stops at the first surprise"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{CommandOutput, FakeSnapd, Offer, SnapdFault, SnapdState, program};
use serde_json::{Value, json};

const OLD_SNAP: &str = "snap \"microk8s\" channel=\"1.32/stable\" classic=#true";
const NEW_SNAP: &str = "snap \"microk8s\" channel=\"1.33/stable\" classic=#true";

/// A host in a directory: a snapd and nothing else.
struct FaultyHost {
    snapd: FakeSnapd,
    dir: tempfile::TempDir,
}

impl FaultyHost {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [("run/none", ""), ("usr/lib/snapd/snapd", "")] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let offers = vec![
            Offer::microk8s("1.32/stable", "7"),
            Offer::microk8s("1.33/stable", "8"),
        ];
        let socket = dir.path().join("run/snapd.socket");
        let snapd = FakeSnapd::start(&socket, SnapdState::new((2, 68), offers));
        Self { snapd, dir }
    }

    /// As [`Self::new`], with the old release installed.
    fn installed() -> Self {
        let faulty = Self::new();
        faulty.apply_ok(OLD_SNAP);
        faulty
    }

    fn write_spec(&self, resources: &str) -> PathBuf {
        let spec = self.dir.path().join("host.kdl");
        fs::write(&spec, format!("host \"test\" {{\n{resources}\n}}\n")).unwrap();
        spec
    }

    fn command(&self, arguments: &[&str], resources: &str) -> Command {
        let mut command = Command::new(program("stead"));
        command.arg("--root").arg(self.dir.path());
        command.args(arguments).arg(self.write_spec(resources));
        command
            .env_remove("STEAD_STATE_DIR")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn stead(&self, arguments: &[&str], resources: &str) -> CommandOutput {
        self.command(arguments, resources).output().unwrap().into()
    }

    fn apply(&self, resources: &str) -> CommandOutput {
        self.stead(&["apply", "--yes"], resources)
    }

    /// Applies what must succeed, and leave nothing to do.
    fn apply_ok(&self, resources: &str) {
        let said = self.apply(resources);
        assert_eq!(said.code, Some(0), "{said:?}");
        let said = self.stead(&["plan"], resources);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// Returns the revisions that are there, with the channel that the snap follows.
    fn installed_revisions(&self) -> Vec<(String, String)> {
        let path = "/v2/snaps?select=all&snaps=microk8s";
        let said = self.snapd.request("GET", path, None).unwrap();
        let text = |snap: &Value, field: &str| snap[field].as_str().unwrap().to_owned();
        let snaps = said["result"].as_array().unwrap();
        snaps
            .iter()
            .map(|snap| (text(snap, "revision"), text(snap, "tracking-channel")))
            .collect()
    }
}

fn owned_pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn snap_download_is_planned_with_size_and_progress() {
    let host = FaultyHost::new();
    let said = host.stead(&["plan"], OLD_SNAP);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.out.contains("snap:microk8s downloads 170 MB\n")
            && said.out.contains("170 MB to download."),
        "{}",
        said.out
    );
    let said = host.stead(&["apply", "--yes", "--max-download", "50M"], OLD_SNAP);
    assert_eq!(said.code, Some(1), "{said:?}");

    let said = host.stead(&["apply", "--yes", "--json"], OLD_SNAP);
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines = said.out.lines().map(serde_json::from_str::<Value>);
    let told: Vec<Value> = lines
        .map(Result::unwrap)
        .filter(|line| line["event"] == "downloading")
        .collect();
    assert_eq!(
        told[0],
        json!({"format": "stead.event/1", "event": "downloading", "label": "microk8s", "done": 17_000_000, "total": 170_000_000})
    );
    let done: Vec<u64> = told
        .iter()
        .map(|line| line["done"].as_u64().unwrap())
        .collect();
    assert!(done.is_sorted() && done.last() == Some(&170_000_000));
    assert_eq!(done.len(), 10, "each once: {done:?}");

    // What is there already costs nothing.
    let said = host.stead(
        &["plan"],
        &OLD_SNAP.replace("channel=\"1.32/stable\"", "revision=\"7\""),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn snap_download_is_drawn_only_on_a_terminal() {
    let host = FaultyHost::new();
    let said = host.apply(OLD_SNAP);
    assert!(
        said.err.contains(
            "downloading microk8s: 17 MB of 170 MB\ndownloading microk8s: 34 MB of 170 MB\n"
        ),
        "{}",
        said.err
    );

    assert!(
        said.err.contains("waiting for snapd: link-snap\n"),
        "{}",
        said.err
    );

    let host = FaultyHost::new();
    let apply = host.command(&["apply", "--yes"], OLD_SNAP);
    let argv = std::iter::once(apply.get_program()).chain(apply.get_args());
    let line: Vec<_> = argv.map(|word| word.to_str().unwrap()).collect();
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line.join(" ")])
        .arg("/dev/null")
        .stdin(Stdio::null())
        .output();
    let said = CommandOutput::from(output.unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    let drawn = said.out.replace('\u{1b}', "\\e");
    assert!(
        drawn.contains("=>              ] downloading microk8s: 85 MB of 170 MB"),
        "{drawn}"
    );
}

#[test]
fn failed_snap_change_keeps_the_installed_revision() {
    let host = FaultyHost::new();
    host.snapd
        .inject(SnapdFault::Error("the disk is full".to_owned()));
    let said = host.apply(OLD_SNAP);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("link-snap (the disk is full)"),
        "{}",
        said.err
    );
    assert_eq!(host.installed_revisions(), []);

    let host = FaultyHost::installed();
    host.snapd
        .inject(SnapdFault::Error("a hook failed".to_owned()));
    let said = host.apply(NEW_SNAP);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("link-snap (a hook failed)"),
        "{}",
        said.err
    );
    assert_eq!(
        host.installed_revisions(),
        owned_pairs(&[("7", "1.32/stable")])
    );
}

#[test]
fn conflicting_snap_change_is_awaited() {
    let host = FaultyHost::new();
    host.snapd.inject(SnapdFault::Conflict);
    host.snapd.inject(SnapdFault::Conflict);
    host.apply_ok(OLD_SNAP);
    assert_eq!(
        host.installed_revisions(),
        owned_pairs(&[("7", "1.32/stable")])
    );
}

#[test]
fn snapd_outage_during_a_change_is_survived() {
    let host = FaultyHost::new();
    host.snapd
        .inject(SnapdFault::Outage(Duration::from_secs(3)));
    host.apply_ok(OLD_SNAP);
    assert_eq!(
        host.installed_revisions(),
        owned_pairs(&[("7", "1.32/stable")])
    );
}

#[test]
fn channel_without_update_is_tracked_anyway() {
    let host = FaultyHost::installed();
    host.snapd.inject(SnapdFault::NoUpdate);
    host.apply_ok(NEW_SNAP);
    assert_eq!(
        host.installed_revisions(),
        owned_pairs(&[("7", "1.33/stable")])
    );
}

#[test]
fn spec_contradicting_the_store_is_rejected_at_planning() {
    let both = NEW_SNAP.replace("channel", "revision=\"7\" channel");
    let confined = OLD_SNAP.replace(" classic=#true", "");
    for (host, resources, fault) in [
        (FaultyHost::new(), &both, "`1.33/stable` has revision 8"),
        (
            FaultyHost::installed(),
            &both,
            "`1.33/stable` has revision 8",
        ),
        (
            FaultyHost::new(),
            &confined,
            "`microk8s` needs classic confinement",
        ),
    ] {
        let before = host.installed_revisions();
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let said = host.stead(command, resources);
            assert_eq!(said.code, Some(2), "{said:?}");
            assert!(said.err.contains(fault), "{}", said.err);
        }
        assert_eq!(host.installed_revisions(), before);
    }
}
