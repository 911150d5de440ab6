//! What the world refuses: exit 1, an answer that says what and why, and nothing lost.
#![expect(
    clippy::disallowed_methods,
    reason = "a test prepares its sandbox with its own hands"
)]

use std::{fs, os::unix::fs::symlink, process::Stdio};

use e2e::{Inside, Said, Sandbox, difference, program, wait_until};

/// Applies these resources, which must be refused with `expected` in the message, and leave the host alone.
fn check(sandbox: &Sandbox, resources: &str, expected: &str) -> Said {
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
fn a_disk_that_is_full() {
    let sandbox = Sandbox::new();
    sandbox.must(&["mkdir", "/srv/small"]);
    sandbox.must(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64k",
        "none",
        "/srv/small",
    ]);
    sandbox.must(&[
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
    check(&sandbox, &spec, "No space left on device");
}

#[test]
fn a_file_system_that_is_read_only() {
    let sandbox = Sandbox::new();
    sandbox.must(&["mkdir", "/srv/fixed"]);
    sandbox.must(&["mount", "-t", "tmpfs", "-o", "ro", "none", "/srv/fixed"]);
    check(
        &sandbox,
        "sysctl \"net.ipv4.ip_forward\" \"1\"\nfile \"/srv/fixed/x\" { content \"a\"; }",
        "Read-only file system",
    );
}

#[test]
fn somebody_who_is_not_root() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/x\" { content \"a\"; }\n}\n",
    );
    fs::copy(program("stead"), sandbox.at("/srv/stead")).unwrap();
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
fn a_plan_of_somebody_who_is_not_root_says_what_it_could_not_see() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    iptables-policy \"filter/FORWARD\" \"DROP\" persist=#false\n}\n",
    );
    fs::copy(program("stead"), sandbox.at("/srv/stead")).unwrap();
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
fn a_program_that_is_not_installed() {
    let sandbox = Sandbox::new();
    sandbox.put("/run/nothing", "");
    // All names of iptables lead to these two; without the right to run them they are as good as gone.
    for name in ["xtables-nft-multi", "xtables-legacy-multi"] {
        sandbox.must(&[
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
fn a_folder_that_is_not_empty() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/full/inside", "kept");
    check(
        &sandbox,
        "file \"/srv/first\" { content \"a\"; }\ndirectory \"/srv/full\" absent=#true",
        "it is not empty: inside",
    );
    check(
        &sandbox,
        "file \"/srv/full\" { content \"a\"; }",
        "it is a directory",
    );
    assert_eq!(sandbox.get("/srv/full/inside").as_deref(), Some("kept"));
}

#[test]
fn a_file_that_is_immutable() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/fixed", "old\n");
    sandbox.must(&["chattr", "+i", "/srv/fixed"]);
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        check(
            &sandbox,
            "file \"/srv/first\" { content \"a\"; }\nfile \"/srv/fixed\" { content \"new\"; }",
            "Operation not permitted",
        )
    }));
    sandbox.must(&["chattr", "-i", "/srv/fixed"]);
    assert!(said.unwrap().err.contains("immutable"));
}

#[test]
fn a_run_folder_that_another_user_owns() {
    let sandbox = Sandbox::new();
    sandbox.must(&["mkdir", "-m", "0700", "/var/lib/stead"]);
    sandbox.must(&["chown", "65534", "/var/lib/stead"]);
    check(
        &sandbox,
        "file \"/srv/x\" { content \"a\"; }",
        "belongs to user 65534",
    );
}

#[test]
fn a_run_folder_that_is_a_link() {
    let sandbox = Sandbox::new();
    sandbox.must(&["mkdir", "-m", "0700", "/srv/elsewhere"]);
    symlink("/srv/elsewhere", sandbox.at("/var/lib/stead")).unwrap();
    check(
        &sandbox,
        "file \"/srv/x\" { content \"a\"; }",
        "is not a directory",
    );
}

#[test]
fn a_way_that_leads_through_a_link() {
    let sandbox = Sandbox::new();
    sandbox.must(&["mkdir", "/srv/real"]);
    symlink("real", sandbox.at("/srv/link")).unwrap();
    check(
        &sandbox,
        "file \"/srv/link/x\" { content \"a\"; }",
        "is a symlink; write the real path",
    );
}

#[test]
fn a_second_run_is_told_who_holds_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/x\" { content \"a\"; }\n}\n",
    );
    sandbox.must(&["mkdir", "-p", "/run/stead"]);
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
fn what_is_left_is_named_with_a_code_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.put("/srv/first", "old\n");
    sandbox.put(
        "/run/host.kdl",
        "host \"test\" {\n    file \"/srv/first\" { content \"new\\n\"; }\n    directory \"/srv/none/x\" needs=\"file:/srv/first\"\n}\n",
    );
    // After the first rename no other succeeds: the change cannot be taken back.
    let mut injected = sandbox.stead_injected(
        "renameat",
        "error=EIO:when=2+",
        &[],
        &["apply", "--yes", "/run/host.kdl"],
    );
    let said = Said::from(injected.output().unwrap());
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
fn a_file_where_the_kernel_makes_none_is_refused() {
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
