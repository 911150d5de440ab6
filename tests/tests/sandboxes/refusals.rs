//! What the world refuses: exit 1, an answer that says what and why, and nothing lost.
#![expect(
    clippy::disallowed_methods,
    reason = "a test prepares its sandbox with its own hands"
)]

use std::{fs, os::unix::fs::symlink, process::Stdio};

use e2e::{CommandOutput, Sandbox, TestEnv, difference, program, wait_until};

/// Applies these resources, which must be refused with `expected` in the message, and leave the host alone.
fn check_refused(sandbox: &Sandbox, resources: &str, expected: &str) -> CommandOutput {
    sandbox.put(
        "/run/host.kdl",
        &format!("host \"test\" {{\n{resources}\n}}\n"),
    );
    let start = sandbox.fingerprint();
    let said = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(expected), "{}", said.err);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
    said
}

#[test]
fn apply_on_a_full_disk_is_rolled_back() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["mkdir", "/srv/small"]);
    sandbox.run_ok(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64k",
        "none",
        "/srv/small",
    ]);
    sandbox.run_ok(&[
        "dd",
        "if=/dev/zero",
        "of=/srv/small/filler",
        "bs=1k",
        "count=48",
        "status=none",
    ]);
    let large = "x".repeat(40_000);
    let spec = format!(
        "file \"/srv/first\" {{ content \"a\"; }}\nfile \"/srv/small/second\" {{ content \"{large}\"; }}"
    );
    check_refused(&sandbox, &spec, "No space left on device");
}

#[test]
fn apply_on_a_read_only_file_system_is_rolled_back() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["mkdir", "/srv/fixed"]);
    sandbox.run_ok(&["mount", "-t", "tmpfs", "-o", "ro", "none", "/srv/fixed"]);
    check_refused(
        &sandbox,
        "sysctl \"net.ipv4.ip_forward\" \"1\"\nfile \"/srv/fixed/x\" { content \"a\"; }",
        "Read-only file system",
    );
}

#[test]
fn apply_without_root_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/x\" { content \"a\"; }\n}\n",
    );
    fs::copy(program("stead"), sandbox.outside_path("/srv/stead")).unwrap();
    let start = sandbox.fingerprint();
    let said = sandbox.run(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "/srv/stead",
        "apply",
        "--yes",
        "/run/host.kdl",
    ]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("needs root"), "{}", said.err);
    assert!(said.err.contains("sudo stead apply"), "{}", said.err);
    assert_eq!(difference(&start, &sandbox.fingerprint()), [""; 0]);
}

#[test]
fn plan_without_root_names_unobserved_attributes() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    iptables-policy \"filter/FORWARD\" \"DROP\" persist=#false\n}\n",
    );
    fs::copy(program("stead"), sandbox.outside_path("/srv/stead")).unwrap();
    let said = sandbox.run(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "/srv/stead",
        "plan",
        "/run/host.kdl",
    ]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out
            .contains("could not be read: ipv4-nft of iptables-policy:filter/FORWARD"),
        "{}",
        said.out
    );
}

#[test]
fn missing_program_is_reported_with_its_package() {
    let sandbox = Sandbox::new();
    sandbox.put("/run/nothing", "");
    // All names of iptables lead to these two; without the right to run them they are as good as gone.
    for name in ["xtables-nft-multi", "xtables-legacy-multi"] {
        sandbox.run_ok(&[
            "mount",
            "--bind",
            "/run/nothing",
            &format!("/usr/sbin/{name}"),
        ]);
    }
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    iptables-policy \"filter/FORWARD\" \"DROP\"\n    file \"/srv/x\" { content \"a\"; }\n}\n",
    );
    let said = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("install the package `iptables`"),
        "{}",
        said.err
    );
    assert_eq!(sandbox.get("/srv/x"), None);
}

#[test]
fn directory_with_entries_is_neither_removed_nor_replaced() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/full/inside", "kept");
    check_refused(
        &sandbox,
        "file \"/srv/first\" { content \"a\"; }\ndirectory \"/srv/full\" absent=#true",
        "it is not empty: inside",
    );
    check_refused(
        &sandbox,
        "file \"/srv/full\" { content \"a\"; }",
        "it is a directory",
    );
    assert_eq!(sandbox.get("/srv/full/inside").as_deref(), Some("kept"));
}

#[test]
fn immutable_file_is_reported_as_such() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/fixed", "old\n");
    sandbox.run_ok(&["chattr", "+i", "/srv/fixed"]);
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        check_refused(
            &sandbox,
            "file \"/srv/first\" { content \"a\"; }\nfile \"/srv/fixed\" { content \"new\"; }",
            "Operation not permitted",
        )
    }));
    sandbox.run_ok(&["chattr", "-i", "/srv/fixed"]);
    assert!(said.unwrap().err.contains("immutable"));
}

#[test]
fn state_directory_of_another_user_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["mkdir", "-m", "0700", "/var/lib/stead"]);
    sandbox.run_ok(&["chown", "65534", "/var/lib/stead"]);
    check_refused(
        &sandbox,
        "file \"/srv/x\" { content \"a\"; }",
        "belongs to user 65534",
    );
}

#[test]
fn state_directory_that_is_a_symlink_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["mkdir", "-m", "0700", "/srv/elsewhere"]);
    symlink("/srv/elsewhere", sandbox.outside_path("/var/lib/stead")).unwrap();
    check_refused(
        &sandbox,
        "file \"/srv/x\" { content \"a\"; }",
        "is not a directory",
    );
}

#[test]
fn path_through_a_symlink_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run_ok(&["mkdir", "/srv/real"]);
    symlink("real", sandbox.outside_path("/srv/link")).unwrap();
    check_refused(
        &sandbox,
        "file \"/srv/link/x\" { content \"a\"; }",
        "is a symlink; write the real path",
    );
}

#[test]
fn apply_is_refused_while_the_lock_is_held() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/x\" { content \"a\"; }\n}\n",
    );
    sandbox.run_ok(&["mkdir", "-p", "/run/stead"]);
    let mut holder = sandbox
        .command(&["flock", "--no-fork", "/run/stead/lock", "sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // A run before that would leave its number in the lock, and whoever is refused then waits for what that may have started.
    wait_until("somebody else has the lock", || {
        let try_it = ["flock", "--nonblock", "/run/stead/lock", "true"];
        sandbox.run(&try_it).code != Some(0)
    });
    let said = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(
        said.err.contains("another run holds the lock"),
        "{}",
        said.err
    );
}

#[test]
fn residue_is_named_with_exit_code_4() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/first", "old\n");
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/first\" { content \"new\\n\"; }\n    directory \"/srv/none/x\" needs=\"file:/srv/first\"\n}\n",
    );
    // After the first rename no other succeeds: the change cannot be rolled back.
    let mut injected = sandbox.stead_injected(
        "renameat",
        "error=EIO:when=2+",
        &[],
        &["apply", "--yes", "/run/host.kdl"],
    );
    let said = CommandOutput::from(injected.output().unwrap());
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(
        said.err.contains("residue:") && said.err.contains("file:/srv/first: "),
        "{}",
        said.err
    );
    assert_eq!(sandbox.get("/srv/first").as_deref(), Some("new\n"));
    assert!(sandbox.stead(&["history"]).out.contains("failed, residue"));
}

#[test]
fn file_in_proc_is_refused() {
    let sandbox = Sandbox::new();
    let spec = "host \"test\" {\n    file \"/proc/nonsense\" { content \"x\"; }\n}\n";
    sandbox.put("/run/host.kdl", spec);
    let said = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let fact = "cannot create a file beside `/proc/nonsense`";
    assert!(said.err.contains(fact), "{}", said.err);
    let reverted = "Rolled back to the state before run 1";
    assert!(said.err.contains(reverted), "{}", said.err);
}
