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

use e2e::{FakeSnapd, Fault, Offer, Said, World, program};
use serde_json::Value;

const OLD: &str = "snap \"microk8s\" channel=\"1.32/stable\" classic=#true";
const NEW: &str = "snap \"microk8s\" channel=\"1.33/stable\" classic=#true";

/// A host in a folder: a snapd and nothing else.
struct Faulty {
    snapd: FakeSnapd,
    folder: tempfile::TempDir,
}

impl Faulty {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("run/none", ""), ("usr/lib/snapd/snapd", "")] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let offers = vec![
            Offer::microk8s("1.32/stable", "7"),
            Offer::microk8s("1.33/stable", "8"),
        ];
        let socket = folder.path().join("run/snapd.socket");
        let snapd = FakeSnapd::start(&socket, World::new((2, 68), offers));
        Self { snapd, folder }
    }

    /// As [`Self::new`], with the old release installed.
    fn installed() -> Self {
        let faulty = Self::new();
        faulty.must(OLD);
        faulty
    }

    fn spec(&self, resources: &str) -> PathBuf {
        let spec = self.folder.path().join("host.kdl");
        fs::write(&spec, format!("host \"test\" {{\n{resources}\n}}\n")).unwrap();
        spec
    }

    fn command(&self, arguments: &[&str], resources: &str) -> Command {
        let mut command = Command::new(program("stead"));
        command.arg("--root").arg(self.folder.path());
        command.args(arguments).arg(self.spec(resources));
        command
            .env_remove("STEAD_STATE_DIR")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn stead(&self, arguments: &[&str], resources: &str) -> Said {
        self.command(arguments, resources).output().unwrap().into()
    }

    fn apply(&self, resources: &str) -> Said {
        self.stead(&["apply", "--yes"], resources)
    }

    /// Applies what must succeed, and leave nothing to do.
    fn must(&self, resources: &str) {
        let said = self.apply(resources);
        assert_eq!(said.code, Some(0), "{said:?}");
        let said = self.stead(&["plan"], resources);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// Returns the revisions that are there, with the channel that the snap follows.
    fn there(&self) -> Vec<(String, String)> {
        let path = "/v2/snaps?select=all&snaps=microk8s";
        let said = self.snapd.ask("GET", path, None).unwrap();
        let text = |snap: &Value, field: &str| snap[field].as_str().unwrap().to_owned();
        let snaps = said["result"].as_array().unwrap();
        snaps
            .iter()
            .map(|snap| (text(snap, "revision"), text(snap, "tracking-channel")))
            .collect()
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn a_change_that_ends_in_error_leaves_what_was_there() {
    let host = Faulty::new();
    host.snapd
        .inject(Fault::Error("the disk is full".to_owned()));
    let said = host.apply(OLD);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("link-snap (the disk is full)"),
        "{}",
        said.err
    );
    assert_eq!(host.there(), []);

    let host = Faulty::installed();
    host.snapd.inject(Fault::Error("a hook failed".to_owned()));
    let said = host.apply(NEW);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("link-snap (a hook failed)"),
        "{}",
        said.err
    );
    assert_eq!(host.there(), pairs(&[("7", "1.32/stable")]));
}

#[test]
fn another_change_of_the_snap_is_waited_for() {
    let host = Faulty::new();
    host.snapd.inject(Fault::Conflict);
    host.snapd.inject(Fault::Conflict);
    host.must(OLD);
    assert_eq!(host.there(), pairs(&[("7", "1.32/stable")]));
}

#[test]
fn snapd_may_be_away_in_the_middle_of_a_change() {
    let host = Faulty::new();
    host.snapd.inject(Fault::Vanish(Duration::from_secs(3)));
    host.must(OLD);
    assert_eq!(host.there(), pairs(&[("7", "1.32/stable")]));
}

#[test]
fn a_channel_without_anything_newer_is_followed_all_the_same() {
    let host = Faulty::installed();
    host.snapd.inject(Fault::NoUpdate);
    host.must(NEW);
    assert_eq!(host.there(), pairs(&[("7", "1.33/stable")]));
}

#[test]
fn what_contradicts_the_store_is_refused_before_anything_changes() {
    let both = NEW.replace("channel", "revision=\"7\" channel");
    let confined = OLD.replace(" classic=#true", "");
    for (host, resources, fault) in [
        (Faulty::new(), &both, "`1.33/stable` has revision 8"),
        (Faulty::installed(), &both, "`1.33/stable` has revision 8"),
        (Faulty::new(), &confined, "`microk8s` has no confinement"),
    ] {
        let before = host.there();
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let said = host.stead(command, resources);
            assert_eq!(said.code, Some(2), "{said:?}");
            assert!(said.err.contains(fault), "{}", said.err);
        }
        assert_eq!(host.there(), before);
    }
}
