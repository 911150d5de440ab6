//! What worked before a run and does not after it rolls the run back.

use e2e::{CommandOutput, Sandbox, TestEnv, difference};

/// Applies a file beside a check, and says how that ended.
fn apply_with_check(sandbox: &Sandbox, check: &str) -> CommandOutput {
    let spec = format!(
        "host \"test\" {{\n    file \"/srv/new\" {{\n        content \"text\"\n    }}\n    {check}\n}}\n"
    );
    sandbox.put("/run/host.kdl", &spec);
    sandbox.stead(&["apply", "--yes", "/run/host.kdl"])
}

#[test]
fn newly_failing_check_rolls_back_the_run() {
    let sandbox = Sandbox::new();
    let start = sandbox.fingerprint();
    let said = apply_with_check(
        &sandbox,
        "check \"nothing new\" within=0 { exec \"test\" \"!\" \"-e\" \"/srv/new\"; }",
    );
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(
        said.err
            .contains("check:nothing new passed before and fails now"),
        "{}",
        said.err
    );
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    let history = sandbox.stead(&["history"]).out;
    assert!(history.contains("check failed"), "{history}");
}

#[test]
fn check_that_failed_before_keeps_the_run() {
    let sandbox = Sandbox::new();
    let said = apply_with_check(
        &sandbox,
        "check \"the file is there\" { exec \"test\" \"-e\" \"/srv/new\"; }",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.err.contains("fails"), "{}", said.err);
    let never = "check \"nobody listens\" tcp=\"127.0.0.1:9\" within=0";
    let said = apply_with_check(
        &sandbox,
        &format!("sysctl \"net.ipv4.ip_forward\" \"1\" persist=#false\n{never}"),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("check:nobody listens fails: 127.0.0.1:9: Connection refused"),
        "{}",
        said.err
    );
    assert_eq!(sandbox.stead(&["plan", "/run/host.kdl"]).code, Some(0));
}

#[test]
fn http_check_reports_failure_and_bad_target_is_rejected() {
    let sandbox = Sandbox::new();
    let said = apply_with_check(
        &sandbox,
        "check \"page\" http=\"http://127.0.0.1:9/x\" within=0",
    );
    assert!(
        said.err.contains("check:page fails: 127.0.0.1:9"),
        "{}",
        said.err
    );
    for wrong in ["http=\"ftp://a\"", "tcp=\"a\"", "", "dns=\"a\" tcp=\"a:1\""] {
        assert_eq!(
            apply_with_check(&sandbox, &format!("check \"x\" {wrong}")).code,
            Some(2),
            "{wrong}"
        );
    }
}
