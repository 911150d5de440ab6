//! The screens of the documentation, made on a host where the trouble is real.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test compares with files of the repository, and stops at the first surprise"
)]

use std::{fs, path::PathBuf};

use anstyle_svg::Term;
use e2e::{Host, Image, Terminal, TestEnv, standin};

const SIZE: (u16, u16) = (80, 60);
const SPEC: &str = r#"host "laptop" {
    sysctl "net.ipv4.ip_forward" "1"
    iptables-policy "filter/FORWARD" "ACCEPT"
    unit "backup.service" running=#true {
        content """
            [Service]
            ExecStartPre=/usr/bin/sleep 8
            ExecStart=/usr/bin/sleep infinity

            """
    }
}
"#;

/// Opens a terminal of a host, as over SSH.
fn open_terminal(host: &Host, arguments: &[&str]) -> Terminal {
    let mut argv = vec!["env", "-u", "NO_COLOR", "TERM=tmux-256color", "stead"];
    argv.extend(arguments);
    Terminal::open(&host.command(&argv), SIZE)
}

/// Compares a screen with the one that the documentation shows; with `UPDATE=1` it takes its place.
fn check_screen(name: &str, line: &str, terminal: &Terminal) {
    let screen = format!("$ {line}\n{}", terminal.coloured());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../docs/guide/src/screens/{name}.svg"));
    let drawn = Term::new().render_svg(&screen);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &drawn).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        normalized(&kept),
        normalized(&drawn),
        "`make docs` shows what is there now"
    );
}

/// Takes away what is otherwise each time: numbers, digests, and how far a wheel has turned.
fn normalized(svg: &str) -> String {
    let mut settled = String::new();
    for letter in svg.chars() {
        let letter = match letter {
            '0'..='9' => '9',
            '\u{2800}'..='\u{28ff}' => '*',
            other => other,
        };
        if letter != '9' || !settled.ends_with('9') {
            settled.push(letter);
        }
    }
    settled
}

#[test]
fn screens_match_the_documentation() {
    let mut host = Host::boot(Image::Debian13);
    let microk8s = format!("{}/microk8s_1.snap", standin::SNAPS_DIR);
    host.run_ok(&["snap", "install", "--dangerous", "--classic", &microk8s]);
    host.run_ok(&["microk8s", "status", "--wait-ready"]);
    host.run_ok(&["systemctl", "enable", "--quiet", "docker.service"]);
    host.reboot();
    // An API server that is starting cannot tell everything.
    assert_eq!(host.finding_names(), ["docker-forwarding", "forward-drop"]);

    let doctor = open_terminal(&host, &["doctor"]);
    assert_eq!(doctor.wait_for_exit(), 3);
    check_screen("doctor", "sudo stead doctor", &doctor);

    host.put("/root/laptop.kdl", SPEC);
    let plan = open_terminal(&host, &["plan", "laptop.kdl"]);
    assert_eq!(plan.wait_for_exit(), 3);
    check_screen("plan", "sudo stead plan laptop.kdl", &plan);

    let apply = open_terminal(&host, &["apply", "laptop.kdl"]);
    apply.wait_for("[y/N]");
    apply.press(&["y", "Enter"]);
    apply.wait_for("waiting for backup.service");
    check_screen("apply", "sudo stead apply laptop.kdl", &apply);
    apply.press(&["C-c"]);
    apply.wait_for("stopping after this step, then rolling back");
    apply.press(&["C-c"]);
    apply.wait_for("still stopping: stead does not interrupt a step.");
    assert_eq!(apply.wait_for_exit(), 1);
    let policy = host.run_ok(&["iptables-nft", "-S", "FORWARD"]).out;
    assert!(policy.starts_with("-P FORWARD DROP"), "{policy}");

    host.put("/root/laptop.kdl", &SPEC.replace("sleep infinity", "false"));
    let failure = open_terminal(&host, &["apply", "--yes", "laptop.kdl"]);
    assert_eq!(failure.wait_for_exit(), 1);
    check_screen("failure", "sudo stead apply --yes laptop.kdl", &failure);

    let import = open_terminal(&host, &["import", "--out", "/root/own.kdl"]);
    let code = import.wait_for_exit();
    assert!(matches!(code, 0 | 8), "{}", import.text());
    check_screen("import", "sudo stead import --out own.kdl", &import);
}
