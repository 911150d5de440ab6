//! Users, groups, their members and packages on a booted host, with the programs that really make them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{process::Stdio, thread::sleep, time::Duration};

use e2e::{
    Fingerprint, Host, Image, TestEnv,
    archive::{PACKAGES_FILE, Package},
    difference,
};

const SPEC: &str = "/root/host.kdl";

/// Writes a spec with these resources.
fn write_spec(host: &Host, resources: &str) {
    host.put(SPEC, &format!("host \"test\" {{\n{resources}\n}}\n"));
}

/// Applies a spec and checks that nothing is left to change.
fn apply_and_check(host: &Host, resources: &str) {
    write_spec(host, resources);
    let applied = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let plan = host.stead(&["plan", SPEC]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(plan.out.contains("No changes."), "{plan:?}");
}

/// Applies a spec that fails for a reason, after which everything is as before.
fn check_apply_fails(host: &Host, resources: &str, reason: &str) {
    let start = account_fingerprint(host);
    write_spec(host, resources);
    let failed = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains(reason), "{failed:?}");
    assert_eq!(difference(&start, &account_fingerprint(host)), [""; 0]);
}

fn undo(host: &Host, run: &str) {
    let undone = host.stead(&["undo", "--yes", run]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
}

/// Looks at the host, without the copies that the programs keep of the state before their last change, and with the accounts in
/// an order of their own: who comes back comes last.
fn account_fingerprint(host: &Host) -> Fingerprint {
    let mut found = host.fingerprint();
    for file in ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"] {
        found.remove(&format!("/etc/{file}-"));
        let text = found.get_mut(&format!("/etc/{file}")).unwrap();
        let (access, lines) = text.split_at(text.match_indices(' ').nth(1).unwrap().0);
        let mut lines: Vec<&str> = lines.trim_start().lines().collect();
        lines.sort_by_key(|line| line.split(':').next());
        *text = format!("{access} {}", lines.join("\n"));
    }
    for line in host
        .run_ok(&["find", "/home", "-printf", "%p %M %u:%g %l\\n"])
        .out
        .lines()
    {
        found.insert(format!("home {line}"), String::new());
    }
    let packages = [
        "dpkg-query",
        "--show",
        "--showformat",
        "${Package} ${Version} ${Status}\\n",
    ];
    for line in host.run_ok(&packages).out.lines() {
        found.insert(format!("package {line}"), String::new());
    }
    found
}

const ACCOUNTS: &str = r#"
    group "anna" gid=2001
    group "media" system=#true
    user "anna" uid=2000 group="anna" shell="/bin/bash" comment="Anna, who sings"
    user "streamer" group="media" home="/srv/streamer" system=#true
    group-member "adm/anna"
    group-member "media/anna"
"#;

#[test]
fn accounts_are_created_changed_and_undone() {
    let host = Host::boot(Image::Debian13);
    let start = account_fingerprint(&host);
    apply_and_check(&host, ACCOUNTS);
    assert_eq!(
        host.run_ok(&["getent", "passwd", "anna"]).out,
        "anna:x:2000:2001:Anna, who sings:/home/anna:/bin/bash\n"
    );
    let groups = host.run_ok(&["id", "--groups", "--name", "anna"]).out;
    assert_eq!(groups, "anna adm media\n");
    host.run_ok(&["test", "-f", "/home/anna/.bashrc"]);
    assert_eq!(host.run(&["test", "-e", "/srv/streamer"]).code, Some(1));

    let made = account_fingerprint(&host);
    apply_and_check(
        &host,
        r#"
        group "anna" gid=2002
        user "anna" uid=2003 group="media" home="/home/sopran" shell="/bin/sh" comment=""
        group-member "adm/anna" absent=#true
        "#,
    );
    assert_eq!(
        host.run_ok(&["getent", "passwd", "anna"])
            .out
            .replace(&media_gid(&host), "MEDIA"),
        "anna:x:2003:MEDIA::/home/sopran:/bin/sh\n"
    );
    undo(&host, "2");
    assert_eq!(difference(&made, &account_fingerprint(&host)), [""; 0]);
    undo(&host, "1");
    assert_eq!(difference(&start, &account_fingerprint(&host)), [""; 0]);
}

/// Returns the number of the group media.
fn media_gid(host: &Host) -> String {
    let group = host.run_ok(&["getent", "group", "media"]).out;
    group.split(':').nth(2).unwrap().to_owned()
}

#[test]
fn undo_restores_removed_accounts() {
    let host = Host::boot(Image::Debian13);
    for argv in [
        &["groupadd", "--gid", "3000", "choir"][..],
        &[
            "useradd",
            "--create-home",
            "--uid",
            "3001",
            "--groups",
            "choir,audio",
            "--user-group",
            "bert",
        ],
        &[
            "useradd",
            "--create-home",
            "--uid",
            "3002",
            "--gid",
            "choir",
            "--comment",
            "Zoe",
            "zoe",
        ],
        &["usermod", "--add-subuids", "700000-700009", "bert"],
        &["chmod", "0751", "/home/bert"],
        &["touch", "/home/zoe/letter"],
    ] {
        host.run_ok(argv);
    }
    let start = account_fingerprint(&host);
    apply_and_check(
        &host,
        r#"
        group "bert" absent=#true
        group "choir" absent=#true
        user "bert" absent=#true
        user "zoe" absent=#true needs="group:choir"
        group-member "audio/bert" absent=#true
        "#,
    );
    assert_eq!(host.run(&["getent", "passwd", "bert", "zoe"]).out, "");
    assert_eq!(host.run(&["getent", "group", "bert", "choir"]).out, "");
    assert_eq!(host.run(&["test", "-e", "/home/bert"]).code, Some(1));
    host.run_ok(&["test", "-e", "/home/zoe/letter"]);
    undo(&host, "1");
    assert_eq!(difference(&start, &account_fingerprint(&host)), [""; 0]);

    // The group of the same name is nobody's to take along.
    apply_and_check(&host, "    user \"bert\" absent=#true");
    assert_eq!(
        host.run_ok(&["getent", "group", "bert"]).out,
        "bert:x:3001:\n"
    );
    undo(&host, "3");
    assert_eq!(difference(&start, &account_fingerprint(&host)), [""; 0]);
}

#[test]
fn invalid_accounts_leave_the_host_unchanged() {
    let host = Host::boot(Image::Debian13);
    check_apply_fails(
        &host,
        r#"
        group "anna" gid=2001
        user "anna" group="anna"
        group-member "adm/anna"
        group-member "no-such-group/anna"
        "#,
        "no-such-group",
    );
    check_apply_fails(&host, "    group \"choir\" gid=0", "GID '0' already exists");
    check_apply_fails(
        &host,
        "    group \"anna\"\n    user \"anna\" uid=0 group=\"anna\"",
        "UID 0 is not unique",
    );
    check_apply_fails(
        &host,
        "    user \"sshd\" absent=#true\n    group \"root\" gid=0\n    group \"sudo\" gid=0",
        "already exists",
    );
    host.run_ok(&["useradd", "--gid", "audio", "bert"]);
    check_apply_fails(
        &host,
        "    group \"audio\" absent=#true",
        "write `needs=\"group:audio\"` on it",
    );
    for (spec, said) in [
        (
            "user \"root\" absent=#true",
            "user:root: the host needs its root",
        ),
        ("user \"root\" uid=7", "user:root: the number of root is 0"),
        (
            "user \"anna\"",
            "user:anna: a new user needs its primary group",
        ),
        ("group \"Anna\"", "`Anna` is not the name of a group"),
    ] {
        write_spec(&host, spec);
        let refused = host.stead(&["plan", SPEC]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(said), "{refused:?}");
    }
}

/// Boots a host whose only archive has packages with a file of settings each.
fn host_with_archive() -> Host {
    let host = Host::boot(Image::Debian13);
    let packages = [
        ("greeting", "1", "", None),
        ("hello", "1.0", "Depends: greeting\n", None),
        ("hello", "2.0", "Depends: greeting\n", None),
        ("broken", "1", "", Some("echo it cannot greet >&2; exit 1")),
        ("slow", "1", "", Some("touch /run/slow; sleep 120")),
        ("rude", "1", "Conflicts: greeting\n", None),
    ];
    let paths = packages.map(|(name, ..)| {
        (
            format!("/etc/{name}.conf"),
            format!("/usr/share/{name}/version"),
        )
    });
    let files: Vec<_> = std::iter::zip(&paths, packages)
        .map(|((settings, own), (_, version, ..))| {
            [(settings.as_str(), "loud = yes\n"), (own, version)]
        })
        .collect();
    let packages: Vec<_> = std::iter::zip(packages, &files)
        .map(|((name, version, control, postinst), files)| Package {
            name,
            version,
            control,
            files,
            postinst,
        })
        .collect();
    host.publish_packages(&packages);
    host
}

fn installed_version(host: &Host, name: &str) -> Option<String> {
    host.get(&format!("/usr/share/{name}/version"))
}

#[test]
fn packages_are_installed_held_changed_and_removed() {
    let host = host_with_archive();
    apply_and_check(&host, "    package \"hello\" version=\"1.0\" hold=#true");
    assert_eq!(installed_version(&host, "hello").as_deref(), Some("1.0"));
    assert_eq!(host.run_ok(&["apt-mark", "showhold"]).out, "hello\n");
    host.run_ok(&["apt-get", "--yes", "upgrade"]);
    assert_eq!(installed_version(&host, "hello").as_deref(), Some("1.0"));

    host.put("/etc/hello.conf", "loud = no\n");
    host.run_ok(&["apt-mark", "auto", "hello"]);
    let held = account_fingerprint(&host);
    apply_and_check(&host, "    package \"hello\" version=\"2.0\"");
    assert_eq!(installed_version(&host, "hello").as_deref(), Some("2.0"));
    assert_eq!(host.run_ok(&["apt-mark", "showhold"]).out, "hello\n");
    undo(&host, "2");
    assert_eq!(difference(&held, &account_fingerprint(&host)), [""; 0]);

    apply_and_check(&host, "    package \"hello\" absent=#true");
    assert_eq!(installed_version(&host, "hello"), None);
    assert_eq!(installed_version(&host, "greeting").as_deref(), Some("1"));
    undo(&host, "4");
    assert_eq!(difference(&held, &account_fingerprint(&host)), [""; 0]);
    assert_eq!(
        host.run_ok(&["apt-mark", "showauto", "hello"]).out,
        "hello\n"
    );
    assert_eq!(host.get("/etc/hello.conf").as_deref(), Some("loud = no\n"));

    write_spec(&host, "    package \"greeting\" absent=#true");
    let refused = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.err.contains("hello depends on greeting"),
        "{refused:?}"
    );
    host.run_ok(&["apt-mark", "unhold", "hello"]);
    write_spec(&host, "    package \"rude\"");
    let refused = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("remove is disabled"), "{refused:?}");
    host.run_ok(&["apt-mark", "hold", "hello"]);
    assert_eq!(difference(&held, &account_fingerprint(&host)), [""; 0]);
}

#[test]
fn failed_packages_leave_only_their_conffiles() {
    let host = host_with_archive();
    for (spec, said) in [
        (
            "package \"hallo\"",
            "the archives of apt have no package `hallo`",
        ),
        (
            "package \"hello\" version=\"3.0\"",
            "they have `1.0`, `2.0`",
        ),
        ("package \"hello:amd64\"", "write `package \"hello\"`"),
    ] {
        write_spec(&host, spec);
        let refused = host.stead(&["plan", SPEC]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(said), "{refused:?}");
    }

    write_spec(&host, "    package \"broken\"\n    package \"hello\"");
    let failed = host.stead(&["apply", "--yes", SPEC]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains("it cannot greet"), "{failed:?}");
    for name in ["broken", "hello"] {
        assert_eq!(installed_version(&host, name), None, "{name}");
    }
    host.run_ok(&["test", "-e", "/etc/broken.conf"]);

    // What went away from the archive cannot come back, and is named.
    apply_and_check(&host, "    package \"hello\" version=\"1.0\"");
    apply_and_check(&host, "    package \"hello\" version=\"2.0\"");
    let list = host.get(PACKAGES_FILE).unwrap();
    host.put(
        PACKAGES_FILE,
        &list.replace("Version: 1.0\n", "Version: 1.1\n"),
    );
    host.run_ok(&["apt-get", "update"]);
    let refused = host.stead(&["undo", "--yes", "3"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .err
            .contains("Version '1.0' for 'hello' was not found"),
        "{refused:?}"
    );
    assert_eq!(installed_version(&host, "hello").as_deref(), Some("2.0"));
}

#[test]
fn recover_removes_a_package_half_installed_at_power_cut() {
    let mut host = host_with_archive();
    write_spec(&host, "    package \"slow\"");
    host.run_ok(&["sync"]);
    let mut applying = host
        .command(&["/usr/local/bin/stead", "apply", "--yes", SPEC])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while host.get("/run/slow").is_none() {
        assert_eq!(applying.try_wait().unwrap(), None, "it ended too early");
        sleep(Duration::from_millis(50));
    }
    host.power_cut();
    applying.wait().unwrap();
    let recovered = host.stead(&["recover"]);
    assert_eq!(recovered.code, Some(0), "{recovered:?}");
    assert_eq!(installed_version(&host, "slow"), None);
    assert_eq!(host.run_ok(&["dpkg", "--audit"]).out, "");
    apply_and_check(&host, "    package \"hello\"");
}
