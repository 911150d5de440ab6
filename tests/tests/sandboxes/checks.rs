//! What worked before a run and does not after it makes the run go back.

use e2e::{Inside, Said, Sandbox, difference};

/// Applies a file beside a check, and says how that ended.
fn apply(sandbox: &Sandbox, check: &str) -> Said {
    let spec = format!(
        "host \"test\" {{\n    file \"/srv/new\" {{\n        content \"text\"\n    }}\n    {check}\n}}\n"
    );
    sandbox.put("/run/host.kdl", &spec);
    sandbox.stead(&["apply", "--yes", "/run/host.kdl"])
}

#[test]
fn a_check_that_passed_and_fails_takes_the_run_back() {
    let sandbox = Sandbox::new();
    let start = sandbox.fingerprint();
    let said = apply(
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
fn a_check_that_comes_to_pass_or_never_did_keeps_the_run() {
    let sandbox = Sandbox::new();
    let said = apply(
        &sandbox,
        "check \"the file is there\" { exec \"test\" \"-e\" \"/srv/new\"; }",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.err.contains("fails"), "{}", said.err);
    let never = "check \"nobody listens\" tcp=\"127.0.0.1:9\" within=0";
    let said = apply(
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
fn a_page_is_asked_for_its_status() {
    let sandbox = Sandbox::new();
    let said = apply(
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
            apply(&sandbox, &format!("check \"x\" {wrong}")).code,
            Some(2),
            "{wrong}"
        );
    }
}
