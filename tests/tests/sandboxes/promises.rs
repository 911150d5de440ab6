//! The promises, on a real kernel.
#![expect(
    clippy::disallowed_methods,
    reason = "a test looks at its sandbox with its own eyes"
)]

use std::{fmt::Write as _, fs, path::Path};

use e2e::{SPEC, Sandbox, TestEnv, difference, sandbox_with_spec};

#[test]
fn apply_leaves_an_empty_plan_and_undo_restores_the_start() {
    let sandbox = sandbox_with_spec();
    let start = sandbox.fingerprint();
    let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(planned.code, Some(3), "{planned:?}");
    assert!(
        planned
            .out
            .ends_with("Plan: 8 to create, 6 to change, 1 to remove.\n"),
        "{}",
        planned.out
    );
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);

    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let again = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.starts_with("No changes."), "{again:?}");
    assert_eq!(sandbox.get("/srv/link").as_deref(), Some("new\n"));
    assert_ne!(difference(&start, &sandbox.fingerprint()), [""; 0]);

    let undone = sandbox.stead(&["undo", "--yes", "1"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn step_refused_by_the_kernel_rolls_back_the_run() {
    let sandbox = sandbox_with_spec();
    let spec = SPEC.replace("target=\"app/text\"", "target=\"app/text\" needs=\"iptables-rule:broken\"").replace(
        "directory",
        "iptables-rule \"broken\" chain=\"NOWHERE\" needs=\"file:/srv/old\" { jump \"ACCEPT\"; }\n    directory",
    );
    sandbox.put("/run/host.kdl", &spec);
    let start = sandbox.fingerprint();
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert!(
        applied
            .err
            .contains("Rolled back to the state before run 1"),
        "{}",
        applied.err
    );
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    assert!(
        sandbox
            .stead(&["history"])
            .out
            .contains("failed, rolled back")
    );
}

#[test]
fn stale_plan_is_refused_without_changes() {
    let sandbox = sandbox_with_spec();
    sandbox.stead(&["plan", "--out", "/run/plan.json", "/run/host.kdl"]);
    sandbox.put("/srv/old", "somebody else\n");
    sandbox.run_ok(&["iptables-nft", "-P", "FORWARD", "DROP"]);
    let start = sandbox.fingerprint();
    let applied = sandbox.stead(&["apply", "--yes", "/run/plan.json"]);
    assert_eq!(applied.code, Some(5), "{applied:?}");
    for address in ["file:/srv/old", "iptables-policy:filter/FORWARD"] {
        assert!(applied.err.contains(address), "{}", applied.err);
    }
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn saved_plan_is_applied() {
    let sandbox = sandbox_with_spec();
    sandbox.stead(&["plan", "--out", "/run/plan.json", "/run/host.kdl"]);
    let mode = fs::metadata(sandbox.outside_path("/run/plan.json")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/plan.json"]).code,
        Some(0)
    );
    assert_eq!(sandbox.stead(&["plan", "/run/host.kdl"]).code, Some(0));
}

#[test]
fn undo_names_conflicts_and_changes_nothing() {
    let sandbox = sandbox_with_spec();
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    sandbox.put("/srv/old", "later\n");
    let start = sandbox.fingerprint();
    let undone = sandbox.stead(&["undo", "--yes", "1"]);
    assert_eq!(undone.code, Some(5), "{undone:?}");
    assert!(
        undone
            .err
            .contains("file:/srv/old has changed since that run"),
        "{}",
        undone.err
    );
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn foreign_rules_are_neither_changed_nor_reordered() {
    let sandbox = sandbox_with_spec();
    let foreign = |sandbox: &Sandbox| {
        let out = sandbox.run_ok(&["iptables-nft-save"]).out;
        out.lines()
            .filter(|line| line.contains("192.0.2."))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = foreign(&sandbox);
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    assert_eq!(foreign(&sandbox), before);
    let moved = SPEC.replace("-s 10.1.0.0/16", "-s 10.2.0.0/16");
    sandbox.put("/run/host.kdl", &moved);
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    let out = sandbox.run_ok(&["iptables-nft-save"]).out;
    let first = out
        .lines()
        .find(|line| line.starts_with("-A FORWARD"))
        .unwrap();
    assert!(
        first.contains("-s 10.2.0.0/16") && first.contains("stead:in"),
        "{out}"
    );
    assert_eq!(foreign(&sandbox), before);
}

#[test]
fn plan_works_on_read_only_mounts() {
    let sandbox = sandbox_with_spec();
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    for place in ["/etc", "/run", "/var/lib", "/srv", "/"] {
        sandbox.run_ok(&["mount", "-o", "remount,bind,ro", place]);
    }
    assert_ne!(
        sandbox.run(&["touch", "/var/lib/x"]).code,
        Some(0),
        "the mount is not read-only"
    );
    let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    sandbox.run_ok(&["iptables-nft", "-P", "FORWARD", "ACCEPT"]);
    let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(planned.code, Some(3), "{planned:?}");
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert!(
        applied.err.contains("Read-only file system"),
        "{}",
        applied.err
    );
}

#[test]
fn plan_restricts_its_writes_by_landlock() {
    let sandbox = sandbox_with_spec();
    let stead = e2e::program("stead");
    let trace = [
        "strace",
        "-f",
        "-qqq",
        "-e",
        "trace=landlock_create_ruleset,landlock_restrict_self,openat",
        stead.to_str().unwrap(),
        "plan",
        "/run/host.kdl",
    ];
    let said = sandbox.run(&trace);
    let asked = |line: &&str| line.contains("LANDLOCK_CREATE_RULESET_VERSION");
    let answer = said.err.lines().find(asked).expect("it asks the kernel");
    let restricted = said
        .err
        .lines()
        .any(|line| line.contains("landlock_restrict_self(") && line.contains("= 0"));
    assert_eq!(restricted, !answer.contains("= -1"), "{}", said.err);
    let writes = |line: &&str| {
        (line.contains("O_WRONLY") || line.contains("O_RDWR") || line.contains("O_CREAT"))
            && !line.contains("= -1")
            && !line.contains("/dev/null")
    };
    let written: Vec<_> = said.err.lines().filter(writes).collect();
    assert_eq!(written, [""; 0]);
}

#[test]
fn plan_of_many_resources_runs_few_programs() {
    let sandbox = Sandbox::new();
    let mut files = "host \"many\" {\n".to_owned();
    for number in 0..1000 {
        writeln!(
            files,
            "    file \"/srv/{number}\" {{ content \"{number}\"; }}"
        )
        .unwrap();
    }
    let mut rules = "host \"many\" {\n".to_owned();
    for number in 0..500 {
        let address = format!("10.{}.{}.0/24", number / 250, number % 250);
        writeln!(rules, "    iptables-rule \"r{number}\" chain=\"FORWARD\" {{ match \"-s {address}\"; jump \"ACCEPT\"; }}").unwrap();
    }
    sandbox.put("/run/files.kdl", &(files + "}\n"));
    sandbox.put("/run/rules.kdl", &(rules + "}\n"));
    for (spec, most) in [("/run/files.kdl", 0), ("/run/rules.kdl", 4)] {
        let applied = sandbox.stead(&["apply", "--yes", spec]);
        assert_eq!(applied.code, Some(0), "{}", applied.err);
        let stead = e2e::program("stead");
        let said = sandbox.run(&[
            "strace",
            "-f",
            "-qqq",
            "-e",
            "trace=execve",
            stead.to_str().unwrap(),
            "plan",
            spec,
        ]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let programs = said
            .err
            .lines()
            .filter(|line| line.contains("execve(") && line.contains("= 0"))
            .count()
            - 1;
        assert!(
            programs <= most,
            "{spec}: {programs} programs\n{}",
            said.err
        );
    }
}

#[test]
fn examples_are_applied_and_undone() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hosts");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // A directory is a spec of several files, which is planned on recorded hosts.
        if path.is_dir() {
            continue;
        }
        let sandbox = Sandbox::new();
        let text = fs::read_to_string(&path).unwrap();
        // A sandbox has neither snapd nor systemd; `hosts::cloud_vm` and `hosts::unit` apply these.
        if text.contains("    snap \"microk8s\"") || text.contains("    unit \"") {
            continue;
        }
        sandbox.put("/run/host.kdl", &text);
        let start = sandbox.fingerprint();
        let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
        assert_eq!(applied.code, Some(0), "{}: {}", path.display(), applied.err);
        assert_eq!(sandbox.stead(&["plan", "/run/host.kdl"]).code, Some(0));
        let undone = sandbox.stead(&["undo", "--yes", "1"]);
        assert_eq!(undone.code, Some(0), "{}: {}", path.display(), undone.err);
        assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
        count += 1;
    }
    assert!(count >= 1, "there are no examples");
}

#[test]
fn apply_prints_json_events_line_by_line() {
    let sandbox = sandbox_with_spec();
    let lines = |said: &e2e::CommandOutput| -> Vec<serde_json::Value> {
        said.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let applied = sandbox.stead(&["apply", "--yes", "--json", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let events = lines(&applied);
    assert!(
        events
            .iter()
            .all(|event| event["format"] == "stead.event/1"),
        "{events:?}"
    );
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events.last().unwrap()["event"], "outcome");
    assert_eq!(events.last().unwrap()["outcome"], "done");
    let again = lines(&sandbox.stead(&["apply", "--yes", "--json", "/run/host.kdl"]));
    assert_eq!(again.last().unwrap()["event"], "unchanged");

    let planned = sandbox.stead(&["plan", "--json", "--only", "file", "/run/host.kdl"]);
    let plan: serde_json::Value = serde_json::from_str(&planned.out).unwrap();
    assert_eq!(
        (&plan["format"], &plan["summary"]["resources"]),
        (&"stead.plan/1".into(), &3.into())
    );
    let wrong = sandbox.stead(&["plan", "--json", "--only", "flie", "/run/host.kdl"]);
    assert_eq!(wrong.code, Some(2));
    let error: serde_json::Value = serde_json::from_str(&wrong.out).unwrap();
    assert_eq!(
        (&error["format"], &error["exit"]),
        (&"stead.error/1".into(), &2.into())
    );
}

#[test]
fn apply_without_yes_is_refused() {
    let sandbox = sandbox_with_spec();
    let start = sandbox.fingerprint();
    let said = sandbox.stead(&["apply", "/run/host.kdl"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("add `--yes`"), "{}", said.err);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}
