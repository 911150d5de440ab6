//! Bad input: exit 2, and a message that says where, what, and what to type.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes the files that it gives to the program"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

/// Plans `spec` and returns what was said, with the folder of the spec shortened.
fn refuse(folder: &Path, spec: &[u8]) -> String {
    let path = folder.join("host.kdl");
    fs::write(&path, spec).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["plan", "--root"])
        .arg(folder)
        .arg(&path)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"", "{said}");
    let lines = said
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n");
    lines.replace(&format!("{}/", folder.display()), "")
}

/// Plans a spec with these resources.
fn refuse_resources(resources: &str) -> String {
    let folder = folder();
    refuse(
        folder.path(),
        format!("host \"test\" {{\n{resources}\n}}\n").as_bytes(),
    )
}

/// A host with one sysctl.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("proc/sys/net/ipv4")).unwrap();
    fs::write(folder.path().join("proc/sys/net/ipv4/ip_forward"), "0\n").unwrap();
    folder
}

#[test]
fn apply_reads_a_spec_once() {
    let folder = folder();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer
        .write_all(b"host \"test\" {\n    sysclt \"a\"\n}\n")
        .unwrap();
    drop(writer);
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["apply", "--yes", "/dev/stdin", "--root"])
        .arg(folder.path())
        .stdin(reader)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`sysclt`"), "{said}");
}

macro_rules! refused {
    ($($name:ident: $spec:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(refuse_resources($spec));
        }
    )*};
}

refused! {
    unknown_kind: "    sysclt \"net.ipv4.ip_forward\" \"1\"";
    unknown_attribute: "    file \"/etc/motd\" mod=\"0644\"";
    unknown_value: "    iptables-policy \"filter/FORWARD\" \"ACCPET\"";
    wrong_type: "    file \"/etc/motd\" mode=644 owner=#true {\n        content 5\n    }\n    sysctl \"net.ipv4.ip_forward\" 1";
    duplicate_address: "    directory \"/a\"\n    directory \"/a\" mode=\"0755\"";
    attribute_twice: "    file \"/etc/motd\" mode=\"0644\" {\n        mode \"0600\"\n    }\n    kube-args \"kube-proxy\" {\n        name \"a\"\n        name \"b\"\n    }";
    cycle: "    directory \"/a\" needs=\"directory:/b\"\n    directory \"/b\" needs=\"directory:/c\"\n    directory \"/c\" {\n        needs \"directory:/a\"\n    }";
    needs_of_something_not_declared: "    directory \"/a\" needs=\"directory:/bb\"\n    directory \"/b\" needs=\"nonsense\"";
    relative_path: "    file \"etc/motd\"";
    path_with_two_dots: "    file \"/etc/../motd\"";
    control_characters_in_names: "    file \"/etc/a\\u{0}b\"\n    iptables-rule \"a\\nb\" chain=\"INPUT\" { jump \"DROP\"; }";
    invalid_mode: "    file \"/etc/motd\" mode=\"0944\"";
    invalid_addresses_and_ports: "    iptables-rule \"a\" chain=\"INPUT\" { match \"-s\" \"10.0.0.0/33\" \"-p\" \"tcp\" \"--dport\" \"70000\"; jump \"DROP\"; }";
    chain_name_of_29_characters: "    iptables-chain \"filter/ABCDEFGHIJKLMNOPQRSTUVWXYZABC\"";
    unknown_table: "    iptables-chain \"filtre/MINE\"\n    iptables-rule \"a\" table=\"nart\" chain=\"INPUT\" { jump \"DROP\"; }";
    sysctl_that_does_not_exist: "    sysctl \"net.ipv4.ip_froward\" \"1\"";
    null_and_annotations: "    file \"/etc/motd\" mode=#null\n    file (var)\"/etc/x\"";
    several_at_once: "    file \"motd\" {\n        contnt \"x\"\n    }\n    directory \"/a\" absent=#true mode=\"0755\"\n    sysctl \"net.ipv4.ip_forward\"\n    iptables-policy \"filter/FORWARD\" absent=#true";
    root_that_shall_not_exist: "    user \"root\" absent=#true\n    group \"root\" absent=#true gid=1";
    accounts_that_cannot_be: "    user \"Anna\"\n    user \"root\" uid=7\n    user \"bert\" group=\"100\" comment=\"a:b\"\n    group \"choir\" gid=-1\n    group-member \"choir\"";
    addons_that_cannot_be: "    addons \"microk8s\" {\n        dns:1.1.1.1\n        metallb \"--help\"\n    }\n    addons \"microk8\"\n    addon-repo \"my addons\" url=\"x\"\n    addon-repo \"mine\" reference=\"-x\"\n    addon-repo \"core\" absent=#true";
    packages_that_cannot_be: "    package \"hello:i386\"\n    package \"hello\" version=\"0:1\"\n    package \"howdy\" version=\"latest\"";
    unit_names_that_cannot_be: "    unit \"nginx\"\n    unit \"dev-sda.device\"\n    unit \"session-1.scope\"\n    unit \"a b.service\"";
    units_that_contradict_themselves: "    unit \"a.service\" masked=#true running=#true {\n        content \"[Service]\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b@.service\" running=#true\n    unit \"c@x.service\" enabled=#false running=#false\n    unit \"d.service\" source=\"d.service\" {\n        content \"[Service]\\nExecStart=/bin/d\\n\"\n    }";
    units_whose_files_say_otherwise: "    unit \"a.service\" enabled=#true running=#true {\n        content \"[Service]\\nType=oneshot\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b.timer\" enabled=#true {\n        content \"[Timer]\\nOnCalendar=daily\\n\"\n    }\n    unit \"c.service\" {\n        content \"ExecStart=/bin/c\\n\"\n    }\n    unit \"d.service\" {\n        content \"\"\n    }\n    unit \"e.service\" enabled=#true {\n        content \"[Service]\\nExecStart=/bin/e\\n[Install]\\nWantedBy=multi-user.target\\nAlso=e.socket\\n\"\n    }\n    unit \"f@.service\" enabled=#true {\n        content \"[Service]\\nExecStart=/bin/f\\n[Install]\\nWantedBy=multi-user.target\\n\"\n    }";
    drop_ins_that_cannot_be: "    unit \"a.service\" {\n        drop-ins {\n            \"memory.conf\" \"[Service]\\n\"\n            \"a/b\" #null\n            \"nice\" 5\n        }\n    }\n    unit \"b.service\" {\n        drop-ins \"memory\"\n    }";
    a_unit_where_systemd_does_not_run: "    unit \"a.service\" running=#true {\n        content \"[Service]\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b.service\" absent=#true";
    a_unit_whose_source_is_missing: "    unit \"a.service\" source=\"a.service\"";
    source_that_is_missing: "    file \"/etc/x\" source=\"missing\"";
    source_that_is_a_folder: "    file \"/etc/x\" source=\"proc\"";
}

#[test]
fn not_kdl() {
    insta::assert_snapshot!(refuse(
        folder().path(),
        b"[host]\nname = \"laptop\"\nfiles: [a, b\n"
    ));
}

#[test]
fn string_that_is_not_closed() {
    insta::assert_snapshot!(refuse(
        folder().path(),
        b"host \"x\" {\n    file \"/etc/motd mode=\"0644\"\n    sysctl net/ipv4 \"1\"\n"
    ));
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(refuse(folder().path(), b""));
}

#[test]
fn only_comments() {
    insta::assert_snapshot!(refuse(folder().path(), b"// nothing yet\n"));
}

#[test]
fn kdl_1() {
    let spec =
        b"host \"x\" {\n    file \"/etc/motd\" absent=true\n    symlink \"/a\" target=r\"b\"\n}\n";
    insta::assert_snapshot!(refuse(folder().path(), spec));
}

#[test]
fn not_utf_8() {
    insta::assert_snapshot!(refuse(folder().path(), b"host \"x\xff\" {\n}\n"));
}

#[test]
fn a_spec_of_50_megabytes() {
    insta::assert_snapshot!(refuse(folder().path(), &vec![b' '; 50_000_000]));
}

#[test]
fn nesting_20_000_deep() {
    let spec = "a {\n".repeat(20_000) + &"}\n".repeat(20_000);
    insta::assert_snapshot!(refuse(folder().path(), spec.as_bytes()));
}

#[test]
fn a_source_of_5_gigabytes() {
    let folder = folder();
    File::create(folder.path().join("large"))
        .unwrap()
        .set_len(5_000_000_000)
        .unwrap();
    let spec = b"host \"test\" {\n    file \"/etc/x\" source=\"large\"\n}\n";
    insta::assert_snapshot!(refuse(folder.path(), spec));
}

#[test]
fn a_source_that_cannot_be_read() {
    let folder = folder();
    let source = folder.path().join("secret");
    fs::write(&source, "").unwrap();
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::write(
        folder.path().join("host.kdl"),
        "host \"test\" {\n    file \"/etc/x\" source=\"secret\"\n}\n",
    )
    .unwrap();
    // Root may read everything, so somebody else has to try.
    let copy = folder.path().join("stead");
    fs::copy(env!("CARGO_BIN_EXE_stead"), &copy).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(&copy)
        .args(["plan", "--root"])
        .arg(folder.path())
        .arg(folder.path().join("host.kdl"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    insta::assert_snapshot!(said.replace(&format!("{}/", folder.path().display()), ""));
}
