//! Secrets: what a run writes, sends and prints has none of them.

use e2e::{Sandbox, TestEnv, difference};

/// How many secrets there are of each sort.
const FILE_SECRETS: usize = 6;
/// All: those in files, two credentials, and two that commands print.
const SECRET_COUNT: usize = FILE_SECRETS + 4;
/// How each begins; what follows is its number.
const SECRET_PREFIX: &str = "Correct-Horse-Battery-Staple-";

/// Runs a program that must succeed, and returns what it printed.
fn run_ok(sandbox: &Sandbox, argv: &[&str]) -> String {
    let said = sandbox.run(argv);
    assert_eq!(said.code, Some(0), "{argv:?}: {}", said.err);
    said.out
}

fn secret(number: usize) -> String {
    format!("{SECRET_PREFIX}{number:02}")
}

/// Where the secret of a number ends up.
fn target(number: usize) -> String {
    format!("/etc/app/secret-{number}")
}

/// Makes the places where secrets come from, and returns the spec that names them.
fn spec_with_secrets(sandbox: &Sandbox, end: &str) -> String {
    for dir in ["/etc/stead", "/etc/credstore", "/etc/commands"] {
        run_ok(sandbox, &["mkdir", "-p", "-m", "700", dir]);
    }
    let mut spec = "host \"x\" {\n    directory \"/etc/app\" mode=\"0711\"\n".to_owned();
    for number in 0..SECRET_COUNT {
        let (source, reference) = match number {
            0..FILE_SECRETS => {
                let path = format!("/etc/stead/{number}");
                (path.clone(), format!("file:{path}"))
            }
            6 | 7 => (
                format!("/etc/credstore/app-{number}"),
                format!("credential:app-{number}"),
            ),
            _ => {
                let path = format!("/etc/commands/{number}");
                (path.clone(), format!("command:cat {path}"))
            }
        };
        sandbox.put(&source, &secret(number));
        run_ok(sandbox, &["chmod", "600", &source]);
        let target = target(number);
        let line = format!("    secret-file {target:?} (secret){reference:?}\n");
        spec.push_str(&line);
    }
    spec + end + "}\n"
}

/// Runs stead with all its calls that write, send or start a program on record, and returns what it said and that record.
fn stead_traced(sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String, String) {
    let stead = sandbox.stead_path();
    let mut argv = vec![
        "strace",
        "-f",
        "-q",
        "-yy",
        "-s",
        "100000",
        "-o",
        "/run/trace",
        // What a command that prints a secret writes is its own.
        "--detach-on=execve",
        "-e",
        "trace=write,pwrite64,writev,pwritev,sendto,sendmsg,sendmmsg,execve,prctl",
        &stead,
    ];
    argv.extend(arguments);
    let said = sandbox.run(&argv);
    let trace = sandbox.get("/run/trace").expect("strace writes it");
    run_ok(sandbox, &["rm", "/run/trace"]);
    (said.code, said.out + &said.err, trace)
}

/// Returns the files that hold a secret, without those where they come from and those that are to have them.
fn files_with_secrets(sandbox: &Sandbox) -> String {
    let own = ["app", "stead", "credstore", "commands"];
    let own = own.map(|dir| format!("--exclude-dir={dir}"));
    let mut argv = vec!["grep", "-rla", SECRET_PREFIX, "/run", "/etc"];
    argv.extend(own.iter().map(String::as_str));
    let elsewhere = sandbox.run(&argv).out;
    elsewhere
        + &sandbox
            .run(&["grep", "-rla", SECRET_PREFIX, "/var/lib/stead"])
            .out
}

/// Returns the lines of a record that have a secret, without those that write the file that is to have it.
fn leaking_lines(trace: &str) -> Vec<&str> {
    let lines = trace.lines().filter(|line| line.contains(SECRET_PREFIX));
    let own = |line: &&str| !line.contains("</etc/app/.");
    lines.filter(own).collect()
}

#[test]
fn secrets_appear_only_in_their_files() {
    let sandbox = Sandbox::new();
    let spec = spec_with_secrets(&sandbox, "");
    sandbox.put("/run/host.kdl", &spec);
    let start = sandbox.fingerprint();

    let (code, said, trace) = stead_traced(
        &sandbox,
        &[
            "plan",
            "--verbose",
            "/run/host.kdl",
            "--out",
            "/run/plan.json",
        ],
    );
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("+ secret-file:/etc/app/secret-9"), "{said}");
    assert!(!said.contains(SECRET_PREFIX), "{said}");
    assert!(
        trace.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"),
        "{trace}"
    );
    assert!(
        trace.contains("execve(\"/usr/bin/cat\"") || trace.contains("execve(\"/bin/cat\""),
        "{trace}"
    );
    assert_eq!(leaking_lines(&trace), [""; 0]);
    run_ok(&sandbox, &["rm", "/run/plan.json"]);

    let (code, said, trace) =
        stead_traced(&sandbox, &["apply", "--yes", "--json", "/run/host.kdl"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(SECRET_PREFIX), "{said}");
    assert_eq!(leaking_lines(&trace), [""; 0]);
    for number in 0..SECRET_COUNT {
        // That each is seen here is what makes the search above worth something.
        let written = trace.lines().filter(|line| line.contains(&secret(number)));
        assert!(written.count() >= 1, "{number} was not seen on its way");
        assert_eq!(sandbox.get(&target(number)), Some(secret(number)));
        let mode = run_ok(&sandbox, &["stat", "-c", "%a %U", &target(number)]);
        assert_eq!(mode.trim(), "600 root");
    }
    assert_eq!(files_with_secrets(&sandbox), "");

    for words in [
        &["plan", "--json", "/run/host.kdl"][..],
        &["show", "1"],
        &["show", "1", "--json"],
        &["history", "--json"],
        &["explain", "secret-file:/etc/app/secret-8", "/run/host.kdl"],
        &["explain", "secret-file:/etc/app/secret-0", "/run/host.kdl"],
        &["validate", "/run/host.kdl"],
        &["import", "--only", "file:/etc/app/*"],
    ] {
        let (code, said, trace) = stead_traced(&sandbox, words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert!(!said.contains(SECRET_PREFIX), "{words:?}: {said}");
        assert_eq!(leaking_lines(&trace), [""; 0], "{words:?}");
    }
    assert_eq!(files_with_secrets(&sandbox), "");

    let undone = sandbox.stead(&["undo", "--yes", "1"]);
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn changed_secret_is_planned_and_undone() {
    let sandbox = Sandbox::new();
    sandbox.put("/run/host.kdl", &spec_with_secrets(&sandbox, ""));
    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    sandbox.put("/etc/stead/0", "another");
    let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert_eq!(planned.code, Some(3));
    assert!(
        planned
            .out
            .contains("~ secret-file:/etc/app/secret-0\n      digest  sha256 "),
        "{}",
        planned.out
    );
    assert!(planned.out.contains("Plan: 1 to change"), "{}", planned.out);

    // Somebody else's hand in the file is a difference too, and nothing of it is shown.
    sandbox.put(&target(1), "by hand");
    let planned = sandbox.stead(&["plan", "/run/host.kdl"]);
    assert!(planned.out.contains("2 to change"), "{}", planned.out);
    assert!(!planned.out.contains("by hand"), "{}", planned.out);

    assert_eq!(
        sandbox.stead(&["apply", "--yes", "/run/host.kdl"]).code,
        Some(0)
    );
    assert_eq!(sandbox.get(&target(0)).as_deref(), Some("another"));
    assert_eq!(sandbox.get(&target(1)), Some(secret(1)));
    // What rollback needs is root's alone, and under a name that says nothing.
    let files = run_ok(
        &sandbox,
        &[
            "find",
            "/var/lib/stead",
            "(",
            "-type",
            "f",
            "!",
            "-perm",
            "600",
            "-o",
            "-type",
            "d",
            "!",
            "-perm",
            "700",
            ")",
        ],
    );
    assert_eq!(files, "");
    assert_eq!(sandbox.stead(&["undo", "--yes", "2"]).code, Some(0));
    assert_eq!(sandbox.get(&target(0)), Some(secret(0)));
    assert_eq!(sandbox.get(&target(1)).as_deref(), Some("by hand"));
}

#[test]
fn failed_run_restores_secrets_and_leaks_none() {
    let sandbox = Sandbox::new();
    let end = "    file \"/proc/nothing\" needs=\"secret-file:/etc/app/secret-9\"\n";
    sandbox.put("/run/host.kdl", &spec_with_secrets(&sandbox, end));
    let start = sandbox.fingerprint();
    let (code, said, trace) = stead_traced(&sandbox, &["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains(SECRET_PREFIX), "{said}");
    assert_eq!(leaking_lines(&trace), [""; 0]);
    assert!(trace.contains(&secret(9)), "it was on its way");
    assert_eq!(files_with_secrets(&sandbox), "");
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn invalid_secret_source_is_rejected() {
    let sandbox = Sandbox::new();
    run_ok(&sandbox, &["mkdir", "-p", "/etc/stead"]);
    sandbox.put("/etc/stead/open", &secret(0));
    run_ok(&sandbox, &["chmod", "644", "/etc/stead/open"]);
    for (line, expected) in [
        (
            "secret-file \"/etc/a\" \"hunter2\"",
            "`value` is a secret, and a spec must not contain one",
        ),
        (
            "secret-file \"/etc/a\"",
            "the source of the secret is missing",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"file:/etc/stead/open\"",
            "`/etc/stead/open` is readable by everybody",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"file:/etc/stead/none\"",
            "`/etc/stead/none` does not exist",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"vault:x\"",
            "`vault` is not a source of secrets",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"credential:none\"",
            "there is no credential `none`",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"command:cat /etc/stead/open /etc/stead/none\"",
            "its output may be secret and is not shown",
        ),
        (
            "file \"/etc/a\" { content (secret)\"file:/etc/stead/open\"; }",
            "`content` cannot be a secret: plans would show it",
        ),
        (
            "sysctl \"vm.swappiness\" (secret)\"file:/etc/stead/open\"",
            "`value` cannot be a secret",
        ),
        (
            "secret-file \"/etc/a\" (secret)\"file:/x\"; file \"/etc/a\"",
            "secret-file:/etc/a and file:/etc/a have the same path",
        ),
        (
            "file (secret)\"file:/etc/stead/open\"",
            "a name cannot be a secret",
        ),
    ] {
        sandbox.put("/run/host.kdl", &format!("host \"x\" {{\n    {line}\n}}\n"));
        let said = sandbox.stead(&["plan", "/run/host.kdl"]);
        assert_eq!(said.code, Some(2), "{line}: {}", said.err);
        assert!(said.err.contains(expected), "{line}: {}", said.err);
        assert!(!said.err.contains(SECRET_PREFIX), "{line}: {}", said.err);
    }
}
