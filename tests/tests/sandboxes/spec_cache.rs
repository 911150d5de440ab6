//! What an apply keeps of a spec: used when nothing of the spec has changed, and never when anything has.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the host with their own eyes and stop at the first surprise"
)]

use std::{fs, os::unix::fs::PermissionsExt};

use e2e::{Inside, Said, Sandbox};

const KEPT: &str = "/var/lib/stead/spec.kept";
const SPEC: &str = "/run/host.kdl";
/// Asks for everything that a spec can ask for: an include, a variable, the environment, a fact, a source, a secret.
const TEXT: &str = r#"var "owner" default="root"
host "kept" {
    include "part.kdl"
    file "/srv/var" { content (var)"owner"; }
    file "/srv/env" { content (env)"PLACE"; }
    file "/srv/fact" { content (fact)"hostname"; }
    file "/srv/source" source="bytes"
    secret-file "/srv/secret" (secret)"file:/etc/stead/secret"
    when fact="cpus" at-least=1 { file "/srv/when" { content "some"; }; }
}
"#;

/// Makes a sandbox in which the spec is applied.
fn applied() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put(SPEC, TEXT);
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"one\"; }\n");
    sandbox.put("/run/bytes", "bytes");
    sandbox.put("/etc/stead/secret", "a secret");
    sandbox.must(&["chmod", "600", "/etc/stead/secret"]);
    let said = stead(&sandbox, "home", &["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
    sandbox
}

/// Runs stead with an environment variable.
fn stead(sandbox: &Sandbox, place: &str, arguments: &[&str]) -> Said {
    let (stead, place) = (sandbox.stead_path(), format!("PLACE={place}"));
    let mut argv = vec!["env", &place, &stead];
    argv.extend(arguments);
    sandbox.run(&argv)
}

/// Whether a plan has read the spec.
fn has_read(said: &Said) -> bool {
    let has_row = |name: &str| said.err.lines().any(|line| line.starts_with(name));
    assert!(has_row("Time:"), "{said:?}");
    has_row("  spec ")
}

/// Plans with what was kept and without it: both must say the same. Returns whether the first one has read the spec, and its exit code.
fn plan(sandbox: &Sandbox, place: &str, options: &[&str]) -> (bool, Option<i32>) {
    let mut arguments = vec!["plan", SPEC, "--json", "--timings"];
    arguments.extend(options);
    let with = stead(sandbox, place, &arguments);
    let kept = sandbox.at(KEPT);
    let aside = sandbox.at("/var/lib/stead/aside");
    let is_kept = kept.exists();
    if is_kept {
        fs::rename(&kept, &aside).unwrap();
    }
    let without = stead(sandbox, place, &arguments);
    if is_kept {
        fs::rename(&aside, &kept).unwrap();
    }
    assert!(has_read(&without), "{without:?}");
    assert_eq!(with.out, without.out, "{arguments:?}");
    assert_eq!(with.code, without.code, "{arguments:?}");
    (has_read(&with), with.code)
}

const SAME: (bool, Option<i32>) = (false, Some(0));
const CHANGED: (bool, Option<i32>) = (true, Some(3));

#[test]
fn a_spec_that_has_not_changed_is_not_read_again() {
    let sandbox = applied();
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
    // What has moved on the host is seen all the same, with the line of the spec.
    sandbox.put("/srv/part", "two");
    sandbox.put("/srv/when", "other");
    assert_eq!(plan(&sandbox, "home", &[]), (false, Some(3)));
    let said = stead(&sandbox, "home", &["plan", SPEC]);
    assert!(said.out.contains("/run/part.kdl:1"), "{said:?}");
    assert!(said.out.contains("/run/host.kdl:9"), "{said:?}");
    // A part of a spec is read.
    let said = stead(
        &sandbox,
        "home",
        &["plan", SPEC, "--timings", "--only", "file:/srv/when"],
    );
    assert!(has_read(&said), "{said:?}");
}

#[test]
fn whatever_a_spec_depends_on_makes_it_be_read_again() {
    let sandbox = applied();
    // The file itself, a comment in it, and one that it includes.
    sandbox.put(SPEC, &TEXT.replace("some", "more"));
    assert_eq!(plan(&sandbox, "home", &[]), CHANGED);
    sandbox.put(SPEC, &format!("{TEXT}// a comment\n"));
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    sandbox.put(SPEC, TEXT);
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"two\"; }\n");
    assert_eq!(plan(&sandbox, "home", &[]), CHANGED);
    fs::remove_file(sandbox.at("/run/part.kdl")).unwrap();
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(2)));
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"one\"; }\n");
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
    // A value that is given, an environment variable, a fact.
    assert_eq!(
        plan(&sandbox, "home", &["--var", "owner=root"]),
        (true, Some(0))
    );
    assert_eq!(plan(&sandbox, "home", &["--var", "owner=you"]), CHANGED);
    sandbox.put("/run/values.kdl", "owner \"they\"\n");
    assert_eq!(
        plan(&sandbox, "home", &["--vars", "/run/values.kdl"]),
        CHANGED
    );
    assert_eq!(plan(&sandbox, "away", &[]), CHANGED);
    sandbox.must(&["hostname", "another"]);
    assert_eq!(plan(&sandbox, "home", &[]), CHANGED);
}

#[test]
fn what_is_beside_the_spec_is_looked_at_by_every_plan() {
    let sandbox = applied();
    sandbox.put("/run/bytes", "other bytes");
    assert_eq!(plan(&sandbox, "home", &[]), (false, Some(3)));
    sandbox.put("/run/bytes", "bytes");
    sandbox.put("/etc/stead/secret", "another secret");
    assert_eq!(plan(&sandbox, "home", &[]), (false, Some(3)));
    let kept = sandbox.get(KEPT).unwrap();
    assert!(kept.contains("file:/etc/stead/secret"));
    assert!(!kept.contains("a secret"));
    // A mistake that only the host shows is shown where it stands.
    fs::remove_file(sandbox.at("/run/bytes")).unwrap();
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(2)));
    let said = stead(&sandbox, "home", &["plan", SPEC]);
    assert!(said.err.contains("host.kdl:7:"), "{said:?}");
}

#[test]
fn what_was_kept_by_hand_for_others_or_by_another_program_counts_for_nothing() {
    let sandbox = applied();
    let kept = sandbox.get(KEPT).unwrap();
    let mode = fs::metadata(sandbox.at(KEPT)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let check = |text: &str| {
        fs::write(sandbox.at(KEPT), text).unwrap();
        assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    };
    check(&kept.replace("\"some\"", "\"mine\""));
    check(&kept[..kept.len() - 1]);
    check("");
    check("\n\n\n");
    fs::write(sandbox.at(KEPT), &kept).unwrap();
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
    sandbox.must(&["chmod", "604", KEPT]);
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    sandbox.must(&["chmod", "600", KEPT]);
    sandbox.must(&["chown", "daemon", KEPT]);
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    sandbox.must(&["chown", "root", KEPT]);
    sandbox.must(&["mv", KEPT, "/run/kept"]);
    sandbox.must(&["ln", "-s", "/run/kept", KEPT]);
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    sandbox.must(&["mv", "/run/kept", KEPT]);
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
    // The same program at another place is another one for all that is known.
    sandbox.must(&["cp", &sandbox.stead_path(), "/run/stead-new"]);
    let argv = [
        "env",
        "PLACE=home",
        "/run/stead-new",
        "plan",
        SPEC,
        "--timings",
    ];
    assert!(has_read(&sandbox.run(&argv)));
}

#[test]
fn a_run_that_goes_back_leaves_nothing_that_is_wrong() {
    let sandbox = applied();
    // Undone: the spec asks for what it asked for, and the host has less.
    let said = stead(&sandbox, "home", &["undo", "1", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(plan(&sandbox, "home", &[]), (false, Some(3)));
    // Failed: another spec, which was not kept.
    let text = TEXT
        .replace("some", "more")
        .replace("/srv/when", "/srv/env/below");
    sandbox.put(SPEC, &text);
    let before = sandbox.get(KEPT);
    let said = stead(&sandbox, "home", &["apply", SPEC, "--yes"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(sandbox.get(KEPT), before);
    assert_eq!(plan(&sandbox, "home", &[]), CHANGED);
    sandbox.put(SPEC, TEXT);
    assert_eq!(plan(&sandbox, "home", &[]), (false, Some(3)));
}

#[test]
fn a_plan_keeps_nothing_and_an_apply_that_finds_nothing_to_do_does() {
    let sandbox = applied();
    sandbox.put(SPEC, &format!("{TEXT}// a comment\n"));
    let before = sandbox.get(KEPT);
    assert_eq!(plan(&sandbox, "home", &[]), (true, Some(0)));
    assert_eq!(sandbox.get(KEPT), before);
    let said = stead(&sandbox, "home", &["apply", SPEC, "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_ne!(sandbox.get(KEPT), before);
    assert_eq!(plan(&sandbox, "home", &[]), SAME);
}
