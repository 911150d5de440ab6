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

/// Plans `spec` and returns what was said, with the directory of the spec shortened.
fn plan_error(dir: &Path, spec: &[u8]) -> String {
    let path = dir.join("host.kdl");
    fs::write(&path, spec).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["plan", "--root"])
        .arg(dir)
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
    lines.replace(&format!("{}/", dir.display()), "")
}

/// Plans a spec with these resources.
fn plan_error_of(resources: &str) -> String {
    let dir = host_dir();
    plan_error(
        dir.path(),
        format!("host \"test\" {{\n{resources}\n}}\n").as_bytes(),
    )
}

/// A host with one sysctl.
fn host_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("proc/sys/net/ipv4")).unwrap();
    fs::write(dir.path().join("proc/sys/net/ipv4/ip_forward"), "0\n").unwrap();
    dir
}

#[test]
fn apply_reads_a_spec_once() {
    let dir = host_dir();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer
        .write_all(b"host \"test\" {\n    sysclt \"a\"\n}\n")
        .unwrap();
    drop(writer);
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["apply", "--yes", "/dev/stdin", "--root"])
        .arg(dir.path())
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
            insta::assert_snapshot!(plan_error_of($spec));
        }
    )*};
}

refused! {
    unknown_kind_is_rejected: "    sysclt \"net.ipv4.ip_forward\" \"1\"";
    unknown_attribute_is_rejected: "    file \"/etc/motd\" mod=\"0644\"";
    unknown_value_is_rejected: "    iptables-policy \"filter/FORWARD\" \"ACCPET\"";
    value_of_wrong_type_is_rejected: "    file \"/etc/motd\" mode=644 owner=#true {\n        content 5\n    }\n    sysctl \"net.ipv4.ip_forward\" 1";
    duplicate_address_is_rejected: "    directory \"/a\"\n    directory \"/a\" mode=\"0755\"";
    duplicate_attribute_is_rejected: "    file \"/etc/motd\" mode=\"0644\" {\n        mode \"0600\"\n    }\n    kube-args \"kube-proxy\" {\n        name \"a\"\n        name \"b\"\n    }";
    cycle_of_needs_is_rejected: "    directory \"/a\" needs=\"directory:/b\"\n    directory \"/b\" needs=\"directory:/c\"\n    directory \"/c\" {\n        needs \"directory:/a\"\n    }";
    needs_of_undeclared_resource_is_rejected: "    directory \"/a\" needs=\"directory:/bb\"\n    directory \"/b\" needs=\"nonsense\"";
    relative_path_is_rejected: "    file \"etc/motd\"";
    path_with_dot_dot_is_rejected: "    file \"/etc/../motd\"";
    name_with_control_character_is_rejected: "    file \"/etc/a\\u{0}b\"\n    iptables-rule \"a\\nb\" chain=\"INPUT\" { jump \"DROP\"; }";
    invalid_mode_is_rejected: "    file \"/etc/motd\" mode=\"0944\"";
    rule_with_invalid_address_or_port_is_rejected: "    iptables-rule \"a\" chain=\"INPUT\" { match \"-s\" \"10.0.0.0/33\" \"-p\" \"tcp\" \"--dport\" \"70000\"; jump \"DROP\"; }";
    chain_name_of_29_characters_is_rejected: "    iptables-chain \"filter/ABCDEFGHIJKLMNOPQRSTUVWXYZABC\"";
    unknown_table_is_rejected: "    iptables-chain \"filtre/MINE\"\n    iptables-rule \"a\" table=\"nart\" chain=\"INPUT\" { jump \"DROP\"; }";
    sysctl_unknown_to_the_kernel_is_rejected: "    sysctl \"net.ipv4.ip_froward\" \"1\"";
    null_and_annotation_are_rejected: "    file \"/etc/motd\" mode=#null\n    file (var)\"/etc/x\"";
    spec_with_several_errors_reports_each: "    file \"motd\" {\n        contnt \"x\"\n    }\n    directory \"/a\" absent=#true mode=\"0755\"\n    sysctl \"net.ipv4.ip_forward\"\n    iptables-policy \"filter/FORWARD\" absent=#true";
    absent_root_account_is_rejected: "    user \"root\" absent=#true\n    group \"root\" absent=#true gid=1";
    invalid_accounts_are_rejected: "    user \"Anna\"\n    user \"root\" uid=7\n    user \"bert\" group=\"100\" comment=\"a:b\"\n    group \"choir\" gid=-1\n    group-member \"choir\"";
    invalid_addons_are_rejected: "    addons \"microk8s\" {\n        dns:1.1.1.1\n        metallb \"--help\"\n    }\n    addons \"microk8\"\n    addon-repo \"my addons\" url=\"x\"\n    addon-repo \"mine\" reference=\"-x\"\n    addon-repo \"core\" absent=#true";
    invalid_packages_are_rejected: "    package \"hello:i386\"\n    package \"hello\" version=\"0:1\"\n    package \"howdy\" version=\"latest\"";
    invalid_unit_names_are_rejected: "    unit \"nginx\"\n    unit \"dev-sda.device\"\n    unit \"session-1.scope\"\n    unit \"a b.service\"";
    contradictory_units_are_rejected: "    unit \"a.service\" masked=#true running=#true {\n        content \"[Service]\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b@.service\" running=#true\n    unit \"c@x.service\" enabled=#false running=#false\n    unit \"d.service\" source=\"d.service\" {\n        content \"[Service]\\nExecStart=/bin/d\\n\"\n    }";
    unit_contradicting_its_file_is_rejected: "    unit \"a.service\" enabled=#true running=#true {\n        content \"[Service]\\nType=oneshot\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b.timer\" enabled=#true {\n        content \"[Timer]\\nOnCalendar=daily\\n\"\n    }\n    unit \"c.service\" {\n        content \"ExecStart=/bin/c\\n\"\n    }\n    unit \"d.service\" {\n        content \"\"\n    }\n    unit \"e.service\" enabled=#true {\n        content \"[Service]\\nExecStart=/bin/e\\n[Install]\\nWantedBy=multi-user.target\\nAlso=e.socket\\n\"\n    }\n    unit \"f@.service\" enabled=#true {\n        content \"[Service]\\nExecStart=/bin/f\\n[Install]\\nWantedBy=multi-user.target\\n\"\n    }";
    invalid_drop_ins_are_rejected: "    unit \"a.service\" {\n        drop-ins {\n            \"memory.conf\" \"[Service]\\n\"\n            \"a/b\" #null\n            \"nice\" 5\n        }\n    }\n    unit \"b.service\" {\n        drop-ins \"memory\"\n    }";
    unit_without_systemd_is_rejected: "    unit \"a.service\" running=#true {\n        content \"[Service]\\nExecStart=/bin/a\\n\"\n    }\n    unit \"b.service\" absent=#true";
    unit_with_missing_source_is_rejected: "    unit \"a.service\" source=\"a.service\"";
    file_with_missing_source_is_rejected: "    file \"/etc/x\" source=\"missing\"";
    directory_as_source_is_rejected: "    file \"/etc/x\" source=\"proc\"";
}

#[test]
fn text_that_is_not_kdl_is_rejected() {
    insta::assert_snapshot!(plan_error(
        host_dir().path(),
        b"[host]\nname = \"laptop\"\nfiles: [a, b\n"
    ));
}

#[test]
fn unclosed_string_is_rejected() {
    insta::assert_snapshot!(plan_error(
        host_dir().path(),
        b"host \"x\" {\n    file \"/etc/motd mode=\"0644\"\n    sysctl net/ipv4 \"1\"\n"
    ));
}

#[test]
fn empty_spec_is_rejected() {
    insta::assert_snapshot!(plan_error(host_dir().path(), b""));
}

#[test]
fn spec_with_only_comments_is_rejected() {
    insta::assert_snapshot!(plan_error(host_dir().path(), b"// nothing yet\n"));
}

#[test]
fn kdl_1_spec_is_rejected() {
    let spec =
        b"host \"x\" {\n    file \"/etc/motd\" absent=true\n    symlink \"/a\" target=r\"b\"\n}\n";
    insta::assert_snapshot!(plan_error(host_dir().path(), spec));
}

#[test]
fn non_utf_8_spec_is_rejected() {
    insta::assert_snapshot!(plan_error(host_dir().path(), b"host \"x\xff\" {\n}\n"));
}

#[test]
fn spec_of_50_megabytes_is_rejected() {
    insta::assert_snapshot!(plan_error(host_dir().path(), &vec![b' '; 50_000_000]));
}

#[test]
fn nesting_of_20_000_nodes_is_rejected() {
    let spec = "a {\n".repeat(20_000) + &"}\n".repeat(20_000);
    insta::assert_snapshot!(plan_error(host_dir().path(), spec.as_bytes()));
}

#[test]
fn source_of_5_gigabytes_is_rejected() {
    let dir = host_dir();
    File::create(dir.path().join("large"))
        .unwrap()
        .set_len(5_000_000_000)
        .unwrap();
    let spec = b"host \"test\" {\n    file \"/etc/x\" source=\"large\"\n}\n";
    insta::assert_snapshot!(plan_error(dir.path(), spec));
}

#[test]
fn unreadable_source_is_rejected() {
    let dir = host_dir();
    let source = dir.path().join("secret");
    fs::write(&source, "").unwrap();
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::write(
        dir.path().join("host.kdl"),
        "host \"test\" {\n    file \"/etc/x\" source=\"secret\"\n}\n",
    )
    .unwrap();
    // Root may read everything, so somebody else has to try.
    let copy = dir.path().join("stead");
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
        .arg(dir.path())
        .arg(dir.path().join("host.kdl"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    insta::assert_snapshot!(said.replace(&format!("{}/", dir.path().display()), ""));
}
