//! Formats of 0.1: what that release wrote is read as before, and the same documents are printed. `tests/formats/0.1` has what its
//! program made of the spec of the sandboxes: a saved plan, the events of an apply and of an undo, and the state directory after
//! apply, undo and apply.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads what was recorded and stops at the first surprise"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::{CommandOutput, Sandbox, TestEnv, difference};
use serde_json::Value;

const STATE: &str = "/var/lib/stead";

/// Where the program was when it was recorded: units that it writes name it.
const PROGRAM: &str = "/run/bin/stead";

/// Makes a sandbox with the program in that place.
fn sandbox() -> Sandbox {
    let sandbox = e2e::sandbox_with_spec();
    sandbox.run_ok(&["mkdir", "/run/bin"]);
    sandbox.run_ok(&["cp", &sandbox.stead_path(), PROGRAM]);
    sandbox
}

fn stead_exits(sandbox: &Sandbox, arguments: &[&str], code: i32) -> CommandOutput {
    let mut argv = vec![PROGRAM];
    argv.extend(arguments);
    let said = sandbox.run(&argv);
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    said
}

fn formats_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/0.1")
}

fn recorded_text(name: &str) -> String {
    fs::read_to_string(formats_dir().join(name)).unwrap()
}

/// Puts the recorded state directory in place of the sandbox's own.
fn put_state(sandbox: &Sandbox) {
    sandbox.run_ok(&["rm", "-rf", STATE]);
    put_directory(sandbox, &formats_dir().join("state"), STATE);
    sandbox.run_ok(&["chmod", "-R", "go=", STATE]);
}

fn put_directory(sandbox: &Sandbox, from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = format!("{to}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            put_directory(sandbox, &path, &to);
        } else {
            sandbox.put(&to, &fs::read_to_string(&path).unwrap());
        }
    }
}

fn parse_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn plan_and_events_are_printed_as_by_0_1() {
    let sandbox = sandbox();
    let planned = stead_exits(&sandbox, &["plan", "--json", "/run/host.kdl"], 3);
    assert_eq!(
        planned.out.trim_end(),
        recorded_text("plan.json").trim_end()
    );
    let applied = stead_exits(&sandbox, &["apply", "--yes", "--json", "/run/host.kdl"], 0);
    assert_eq!(applied.out, recorded_text("apply.jsonl"));
    let undone = stead_exits(&sandbox, &["undo", "--yes", "--json", "1"], 0);
    assert_eq!(undone.out, recorded_text("undo.jsonl"));
}

#[test]
fn saved_plan_of_0_1_is_applied() {
    let sandbox = sandbox();
    sandbox.put("/run/plan.json", &recorded_text("plan.json"));
    let applied = stead_exits(&sandbox, &["apply", "--yes", "--json", "/run/plan.json"], 0);
    assert_eq!(applied.out, recorded_text("apply.jsonl"));
    stead_exits(&sandbox, &["plan", "/run/host.kdl"], 0);
}

#[test]
fn runs_of_0_1_are_shown_as_before() {
    let sandbox = sandbox();
    put_state(&sandbox);
    for run in ["1", "2", "3"] {
        let shown = stead_exits(&sandbox, &["show", run, "--json"], 0);
        assert_eq!(
            parse_json(&shown.out),
            parse_json(&recorded_text(&format!("show-{run}.json")))
        );
    }
}

#[test]
fn run_of_0_1_is_undone() {
    let sandbox = sandbox();
    let start = sandbox.fingerprint();
    stead_exits(&sandbox, &["apply", "--yes", "/run/host.kdl"], 0);
    put_state(&sandbox);
    assert_ne!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    stead_exits(&sandbox, &["undo", "--yes", "3"], 0);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}
