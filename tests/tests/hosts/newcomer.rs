//! Somebody who knows nothing but the README, on a host that has never seen stead.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes a package and stops at the first surprise"
)]

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use e2e::{
    Host, Image, TestEnv,
    document::{repository, run_as},
    program, wait_until,
};

/// Who reads the README.
const NEWCOMER: &str = "ada";
/// Where the README has the package, below where its commands run.
const PACKAGES: &str = "/srv/page/target/debian";

/// Boots a host without stead, with somebody who may become root.
fn boot() -> Host {
    let host = Host::boot(Image::Debian13);
    host.run_ok(&["umount", "/usr/local/bin/stead"]);
    host.run_ok(&["rm", "/usr/local/bin/stead"]);
    host.run_ok(&["useradd", "--create-home", NEWCOMER]);
    // As an installer leaves it: sudo asks who this is.
    let name = host.run_ok(&["uname", "--nodename"]).out;
    host.put(
        "/etc/hosts",
        &format!("127.0.0.1 localhost\n127.0.1.1 {name}"),
    );
    host.put("/etc/sudoers.d/newcomer", "ada ALL=(ALL) NOPASSWD: ALL\n");
    host
}

/// Makes a package of the program that is tested, as `make package` does of the released one, and puts it into a host.
fn make_package(host: &Host) -> String {
    let dir = host.outside_path(PACKAGES);
    fs::create_dir_all(&dir).unwrap();
    // Tests run side by side, and a package has one directory to be made in.
    let alone = File::create(repository().join("target/package.lock")).unwrap();
    alone.lock().unwrap();
    let made = Command::new("make")
        .args(["--no-print-directory", "package"])
        .arg(format!("PROGRAM={}", program("stead").display()))
        .arg(format!("DEB=--fast --output {}", dir.display()))
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut packages: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let package = packages.pop().unwrap();
    assert!(packages.is_empty(), "{packages:?}");
    let name = package.file_name().unwrap().to_str().unwrap();
    format!("{PACKAGES}/{name}")
}

/// Installs the package; root does.
fn install(host: &Host, package: &str) {
    host.run_ok(&["apt-get", "install", "--yes", package]);
    assert_eq!(host.run_ok(&["stead", "--version"]).out, "stead 0.1.0\n");
}

fn policy(host: &Host) -> String {
    let shown = host.run_ok(&["iptables-nft", "-S", "FORWARD"]).out;
    shown.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn readme_commands_work_for_a_newcomer() {
    let host = boot();
    make_package(&host);
    run_as(NEWCOMER, &host, Image::Debian13);
    // The policy is what Docker had set, and nothing of stead looks after it any more.
    assert_eq!(policy(&host), "-P FORWARD DROP");
    let hooks = host.run_ok(&["find", "/etc/systemd/system", "-name", "stead-*"]);
    let own = "/etc/systemd/system/multi-user.target.wants/stead-recover.service\n";
    assert_eq!(hooks.out, own);

    // What the package brings is found where people and programs look for it.
    for file in [
        "/usr/share/man/man1/stead-plan.1.gz",
        "/usr/share/bash-completion/completions/stead",
        "/usr/share/zsh/vendor-completions/_stead",
        "/usr/share/fish/vendor_completions.d/stead.fish",
        "/etc/stead/import-ignore.kdl",
    ] {
        host.run_ok(&["test", "-s", file]);
    }
    let owner = host.run_ok(&["dpkg-query", "--search", "/usr/bin/stead"]);
    assert_eq!(owner.out, "stead: /usr/bin/stead\n");
}

#[test]
fn boot_recovers_and_package_removal_waits_for_runs() {
    let mut host = boot();
    let package = make_package(&host);
    install(&host, &package);
    let slow = "unit \"slow.service\" running=#true {\n\
        needs \"sysctl:net.ipv4.ip_forward\"\n\
        content \"[Service]\\nType=notify\\nExecStart=/usr/bin/sleep infinity\\n\"\n}";
    let setting = "sysctl \"net.ipv4.ip_forward\" \"1\"";
    host.put(
        "/root/slow.kdl",
        &format!("host \"test\" {{\n{setting}\n{slow}\n}}\n"),
    );
    host.put(
        "/root/host.kdl",
        &format!("host \"test\" {{\n{setting}\n}}\n"),
    );
    host.run_ok(&["sync"]);
    let persists = |host: &Host| {
        let found = [
            "grep",
            "-rls",
            "^net.ipv4.ip_forward",
            "/etc/sysctl.d",
            "/etc/sysctl.conf",
        ];
        !host.run(&found).out.is_empty()
    };
    assert!(!persists(&host));

    let unit = [
        "systemd-run",
        "--unit=apply",
        "stead",
        "apply",
        "--yes",
        "/root/slow.kdl",
    ];
    host.run_ok(&unit);
    wait_until("the unit is being started", || {
        let shown = host.run_ok(&[
            "systemctl",
            "show",
            "--property=ActiveState",
            "slow.service",
        ]);
        shown.out == "ActiveState=activating\n"
    });
    assert!(persists(&host));
    host.power_cut();
    wait_until("the boot has rolled it back", || !persists(&host));
    wait_until("the run has ended", || {
        let said = host.run_ok(&["stead", "history"]).out;
        said.contains("reverted") || said.contains("failed")
    });
    let state = ["systemctl", "show", "--property=Result", "stead-recover"];
    assert_eq!(host.run_ok(&state).out, "Result=success\n");

    // Whoever removes the program while a run waits would never get their host back.
    let waits = [
        "stead",
        "apply",
        "--yes",
        "--confirm",
        "10m",
        "/root/host.kdl",
    ];
    host.run_ok(&waits);
    let refused = host.run(&["apt-get", "remove", "--yes", "stead"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.out.contains("a run has not ended"), "{refused:?}");
    host.run_ok(&["stead", "confirm"]);

    host.run_ok(&["apt-get", "remove", "--yes", "stead"]);
    assert!(persists(&host), "what was applied stays");
    host.run_ok(&["test", "-d", "/var/lib/stead/runs"]);
    host.run_ok(&["apt-get", "purge", "--yes", "stead"]);
    for gone in ["/var/lib/stead", "/etc/stead", "/usr/bin/stead"] {
        assert_eq!(host.run(&["test", "-e", gone]).code, Some(1), "{gone}");
    }
}
