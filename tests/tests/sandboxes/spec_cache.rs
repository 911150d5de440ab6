//! What an apply keeps of a spec: used when nothing of the spec has changed, and never when anything has.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the host with their own eyes and stop at the first surprise"
)]

use std::{fs, os::unix::fs::PermissionsExt};

use e2e::{CommandOutput, Sandbox, TestEnv};

const CACHE_FILE: &str = "/var/lib/stead/spec.kept";
const SPEC: &str = "/run/host.kdl";
/// Asks for everything that a spec can ask for: an include, a variable, the environment, a fact, a source, a secret.
const SPEC_TEXT: &str = r#"var "owner" default="root"
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
fn sandbox_with_applied_spec() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put(SPEC, SPEC_TEXT);
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"one\"; }\n");
    sandbox.put("/run/bytes", "bytes");
    sandbox.put("/etc/stead/secret", "a secret");
    sandbox.run_ok(&["chmod", "600", "/etc/stead/secret"]);
    let said = stead(&sandbox, "home", &["apply", "--yes", SPEC]);
    assert_eq!(said.code, Some(0), "{said:?}");
    sandbox
}

/// Runs stead with an environment variable.
fn stead(sandbox: &Sandbox, place: &str, arguments: &[&str]) -> CommandOutput {
    let (stead, place) = (sandbox.stead_path(), format!("PLACE={place}"));
    let mut argv = vec!["env", &place, &stead];
    argv.extend(arguments);
    sandbox.run(&argv)
}

/// Whether a plan has read the spec.
fn has_read_spec(said: &CommandOutput) -> bool {
    let has_row = |name: &str| said.err.lines().any(|line| line.starts_with(name));
    assert!(has_row("Time:"), "{said:?}");
    has_row("  spec ")
}

/// Plans with what was kept and without it: both must say the same. Returns whether the first one has read the spec, and its exit code.
fn plan_with_and_without_cache(
    sandbox: &Sandbox,
    place: &str,
    options: &[&str],
) -> (bool, Option<i32>) {
    let mut arguments = vec!["plan", SPEC, "--json", "--timings"];
    arguments.extend(options);
    let with = stead(sandbox, place, &arguments);
    let kept = sandbox.outside_path(CACHE_FILE);
    let aside = sandbox.outside_path("/var/lib/stead/aside");
    let is_kept = kept.exists();
    if is_kept {
        fs::rename(&kept, &aside).unwrap();
    }
    let without = stead(sandbox, place, &arguments);
    if is_kept {
        fs::rename(&aside, &kept).unwrap();
    }
    assert!(has_read_spec(&without), "{without:?}");
    assert_eq!(with.out, without.out, "{arguments:?}");
    assert_eq!(with.code, without.code, "{arguments:?}");
    (has_read_spec(&with), with.code)
}

const UNCHANGED: (bool, Option<i32>) = (false, Some(0));
const CHANGED: (bool, Option<i32>) = (true, Some(3));

#[test]
fn unchanged_spec_is_loaded_from_the_cache() {
    let sandbox = sandbox_with_applied_spec();
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
    // What has moved on the host is seen all the same, with the line of the spec.
    sandbox.put("/srv/part", "two");
    sandbox.put("/srv/when", "other");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (false, Some(3))
    );
    let said = stead(&sandbox, "home", &["plan", SPEC]);
    assert!(said.out.contains("/run/part.kdl:1"), "{said:?}");
    assert!(said.out.contains("/run/host.kdl:9"), "{said:?}");
    // A part of a spec is read.
    let said = stead(
        &sandbox,
        "home",
        &["plan", SPEC, "--timings", "--only", "file:/srv/when"],
    );
    assert!(has_read_spec(&said), "{said:?}");
}

#[test]
fn spec_cache_is_bypassed_when_any_input_changes() {
    let sandbox = sandbox_with_applied_spec();
    // The file itself, a comment in it, and one that it includes.
    sandbox.put(SPEC, &SPEC_TEXT.replace("some", "more"));
    assert_eq!(plan_with_and_without_cache(&sandbox, "home", &[]), CHANGED);
    sandbox.put(SPEC, &format!("{SPEC_TEXT}// a comment\n"));
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(0))
    );
    sandbox.put(SPEC, SPEC_TEXT);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"two\"; }\n");
    assert_eq!(plan_with_and_without_cache(&sandbox, "home", &[]), CHANGED);
    fs::remove_file(sandbox.outside_path("/run/part.kdl")).unwrap();
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(2))
    );
    sandbox.put("/run/part.kdl", "file \"/srv/part\" { content \"one\"; }\n");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
    // A value that is given, an environment variable, a fact.
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &["--var", "owner=root"]),
        (true, Some(0))
    );
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &["--var", "owner=you"]),
        CHANGED
    );
    sandbox.put("/run/values.kdl", "owner \"they\"\n");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &["--vars", "/run/values.kdl"]),
        CHANGED
    );
    assert_eq!(plan_with_and_without_cache(&sandbox, "away", &[]), CHANGED);
    sandbox.run_ok(&["hostname", "another"]);
    assert_eq!(plan_with_and_without_cache(&sandbox, "home", &[]), CHANGED);
}

#[test]
fn plan_rereads_sources_and_secrets_despite_the_cache() {
    let sandbox = sandbox_with_applied_spec();
    sandbox.put("/run/bytes", "other bytes");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (false, Some(3))
    );
    sandbox.put("/run/bytes", "bytes");
    sandbox.put("/etc/stead/secret", "another secret");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (false, Some(3))
    );
    let kept = sandbox.get(CACHE_FILE).unwrap();
    assert!(kept.contains("file:/etc/stead/secret"));
    assert!(!kept.contains("a secret"));
    // A mistake that only the host shows is shown where it stands.
    fs::remove_file(sandbox.outside_path("/run/bytes")).unwrap();
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(2))
    );
    let said = stead(&sandbox, "home", &["plan", SPEC]);
    assert!(said.err.contains("host.kdl:7:"), "{said:?}");
}

#[test]
fn spec_cache_rejects_tampered_or_foreign_files() {
    let sandbox = sandbox_with_applied_spec();
    let kept = sandbox.get(CACHE_FILE).unwrap();
    let mode = fs::metadata(sandbox.outside_path(CACHE_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let check = |text: &str| {
        fs::write(sandbox.outside_path(CACHE_FILE), text).unwrap();
        assert_eq!(
            plan_with_and_without_cache(&sandbox, "home", &[]),
            (true, Some(0))
        );
    };
    check(&kept.replace("\"some\"", "\"mine\""));
    check(&kept[..kept.len() - 1]);
    check("");
    check("\n\n\n");
    fs::write(sandbox.outside_path(CACHE_FILE), &kept).unwrap();
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
    sandbox.run_ok(&["chmod", "604", CACHE_FILE]);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(0))
    );
    sandbox.run_ok(&["chmod", "600", CACHE_FILE]);
    sandbox.run_ok(&["chown", "daemon", CACHE_FILE]);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(0))
    );
    sandbox.run_ok(&["chown", "root", CACHE_FILE]);
    sandbox.run_ok(&["mv", CACHE_FILE, "/run/kept"]);
    sandbox.run_ok(&["ln", "-s", "/run/kept", CACHE_FILE]);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(0))
    );
    sandbox.run_ok(&["mv", "/run/kept", CACHE_FILE]);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
    // The same program at another place is another one for all that is known.
    sandbox.run_ok(&["cp", &sandbox.stead_path(), "/run/stead-new"]);
    let argv = [
        "env",
        "PLACE=home",
        "/run/stead-new",
        "plan",
        SPEC,
        "--timings",
    ];
    assert!(has_read_spec(&sandbox.run(&argv)));
}

#[test]
fn spec_cache_stays_correct_after_undo_and_rollback() {
    let sandbox = sandbox_with_applied_spec();
    // Undone: the spec asks for what it asked for, and the host has less.
    let said = stead(&sandbox, "home", &["undo", "1", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (false, Some(3))
    );
    // Failed: another spec, which was not kept.
    let text = SPEC_TEXT
        .replace("some", "more")
        .replace("/srv/when", "/srv/env/below");
    sandbox.put(SPEC, &text);
    let before = sandbox.get(CACHE_FILE);
    let said = stead(&sandbox, "home", &["apply", SPEC, "--yes"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(sandbox.get(CACHE_FILE), before);
    assert_eq!(plan_with_and_without_cache(&sandbox, "home", &[]), CHANGED);
    sandbox.put(SPEC, SPEC_TEXT);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (false, Some(3))
    );
}

#[test]
fn spec_cache_is_written_by_apply_but_not_by_plan() {
    let sandbox = sandbox_with_applied_spec();
    sandbox.put(SPEC, &format!("{SPEC_TEXT}// a comment\n"));
    let before = sandbox.get(CACHE_FILE);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        (true, Some(0))
    );
    assert_eq!(sandbox.get(CACHE_FILE), before);
    let said = stead(&sandbox, "home", &["apply", SPEC, "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_ne!(sandbox.get(CACHE_FILE), before);
    assert_eq!(
        plan_with_and_without_cache(&sandbox, "home", &[]),
        UNCHANGED
    );
}
