//! Every example parses, is laid out as `stead fmt` does it, and draws its graph.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads the examples and stops at the first surprise"
)]

use std::{fs, path::Path, process::Command};

fn stead(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn examples_are_valid_and_formatted() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hosts");
    let entries = fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
    assert!(paths.len() >= 2);
    for path in paths {
        let address = first_address(&fs::read_to_string(&path).unwrap());
        let path = path.to_str().unwrap();
        assert_eq!(stead(&["validate", path]).0, Some(0), "{path}");
        assert_eq!(
            stead(&["fmt", "--check", path]),
            (Some(0), String::new()),
            "{path}"
        );
        for format in ["dot", "mermaid", "svg"] {
            let (code, drawing) = stead(&["graph", "--format", format, path]);
            assert_eq!(code, Some(0), "{path}");
            assert!(drawing.contains(&address), "{drawing}");
        }
    }
}

#[test]
fn graph_has_shared_implied_resource_once_with_all_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.kdl");
    let spec = r#"host "test" {
    iptables-policy "filter/FORWARD" "ACCEPT"
    iptables-policy "filter/INPUT" "ACCEPT" needs="iptables-policy:filter/FORWARD"
    kube-args "kube-proxy" { proxy-mode "iptables"; }
    kube-args "kubelet" { max-pods "20"; }
}
"#;
    fs::write(&path, spec).unwrap();
    let (code, drawing) = stead(&["graph", path.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{drawing}");
    insta::assert_snapshot!(drawing);
}

#[test]
fn graph_marks_planned_changes_by_sign_and_colour() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(at("same"), "as it is\n").unwrap();
    fs::write(at("old"), "old\n").unwrap();
    fs::write(at("gone"), "").unwrap();
    let spec = format!(
        "host \"test\" {{\nfile {:?} content=\"as it is\\n\"\nfile {:?} content=\"new\\n\"\nfile {:?} content=\"\"\nfile {:?} absent=#true\n}}\n",
        at("same"),
        at("old"),
        at("new"),
        at("gone"),
    );
    fs::write(at("host.kdl"), spec).unwrap();
    let marked = [
        ("~", "old", "#ffeb9c"),
        ("+", "new", "#c6efce"),
        ("-", "gone", "#ffc7ce"),
    ];
    for format in ["dot", "mermaid", "svg"] {
        let arguments = ["graph", "--changes", "--format", format, &at("host.kdl")];
        let (code, drawing) = stead(&arguments);
        assert_eq!(code, Some(0));
        for (sign, name, fill) in marked {
            let label = format!("{sign} file:{}", at(name));
            assert!(drawing.contains(&label), "{label}: {drawing}");
            assert!(drawing.contains(fill), "{fill}: {drawing}");
        }
        assert!(
            !drawing.contains(&format!(" file:{}", at("same"))),
            "{drawing}"
        );
        let (_, plain) = stead(&["graph", "--format", format, &at("host.kdl")]);
        assert!(!plain.contains("#c6efce"), "{plain}");
    }
}

#[test]
fn fleet_example_meets_its_expectations() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hosts/fleet");
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let path = path.to_str().unwrap();
            assert_eq!(stead(&["fmt", "--check", path]), (Some(0), String::new()));
        }
    }
    let spec = dir.join("host.kdl");
    let (code, said) = stead(&["test", spec.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.ends_with("4 expectations, all as expected.\n"),
        "{said}"
    );
}

/// A spec that asks a fact, a variable and the environment, with one recorded host.
fn spec_with_recorded_host() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let spec = dir.path().join("host.kdl");
    let text = r#"var "owner" default="root"
host "x" {
    when fact="cloud" is="azure" {
        directory "/a" owner=(var)"owner" group=(env)"GROUP"
    }
    file "/b" {
        source "b.txt"
    }
}
"#;
    fs::write(&spec, text).unwrap();
    fs::create_dir(dir.path().join("host.expect")).unwrap();
    let live = r#"{"format": "stead.live/1", "facts": {"cloud": "azure"}, "variables": {"owner": "alice"},
        "environment": {"GROUP": "staff"}, "resources": {"directory:/a": {"owner": "root", "mode": "0755"}}}"#;
    fs::write(dir.path().join("host.expect/one.live.json"), live).unwrap();
    let spec = spec.to_str().unwrap().to_owned();
    (dir, spec)
}

#[test]
fn test_compares_and_updates_the_expected_plan() {
    let (dir, spec) = spec_with_recorded_host();
    let plan = dir.path().join("host.expect/one.plan");
    let (code, said) = stead(&["test", &spec]);
    assert_eq!(code, Some(3), "nothing is expected yet: {said}");
    assert!(said.contains("+  ~ directory:/a"), "{said}");
    assert!(!plan.exists());
    assert_eq!(stead(&["test", "--update", &spec]).0, Some(0));
    assert_eq!(
        fs::read_to_string(&plan).unwrap(),
        r#"  ~ directory:/a
      group  "staff"
      owner  "root" → "alice"
      from host.kdl:4, when `cloud` is `azure`

  + file:/b
      source  "b.txt"
      from host.kdl:6

Plan: 1 to create, 1 to change (2 resources).
"#
    );
    assert_eq!(stead(&["test", &spec]).0, Some(0));
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("b.txt", "c.txt")).unwrap();
    let (code, said) = stead(&["test", &spec]);
    assert_eq!(code, Some(3));
    assert!(
        said.contains("-      source  \"b.txt\"\n+      source  \"c.txt\""),
        "{said}"
    );
}

#[test]
fn test_rejects_an_invalid_recorded_host() {
    let (dir, spec) = spec_with_recorded_host();
    let live = dir.path().join("host.expect/one.live.json");
    for text in ["", "{}", r#"{"format": "stead.live/9", "facts": {}}"#] {
        fs::write(&live, text).unwrap();
        let (code, said) = stead(&["test", &spec]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("is not a recorded host"), "{said}");
    }
    fs::remove_file(&live).unwrap();
    let (code, said) = stead(&["test", &spec]);
    assert_eq!(code, Some(2));
    assert!(said.contains("stead test --record first"), "{said}");
}

/// Returns the address of the first resource of a spec.
fn first_address(spec: &str) -> String {
    let mut lines = spec.lines().filter_map(|line| line.strip_prefix("    "));
    let line = lines.find(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let mut words = line
        .unwrap()
        .split(['"', ' '])
        .filter(|word| !word.is_empty());
    format!("{}:{}", words.next().unwrap(), words.next().unwrap())
}

#[test]
fn fmt_check_shows_a_diff_and_fmt_applies_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.kdl");
    fs::write(&path, "host \"x\" {\n  directory   \"/a\" // why\n}\n").unwrap();
    let path = path.to_str().unwrap();
    let (code, said) = stead(&["fmt", "--check", path]);
    assert_eq!(code, Some(3));
    assert!(
        said.contains("-  directory   \"/a\" // why\n+    directory \"/a\" // why\n"),
        "{said}"
    );
    assert_eq!(stead(&["fmt", path]).0, Some(0));
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "host \"x\" {\n    directory \"/a\" // why\n}\n"
    );
    assert_eq!(stead(&["fmt", "--check", path]).0, Some(0));
}

#[test]
fn explain_shows_a_valid_example_of_each_kind() {
    let (_, kinds) = stead(&["kinds", "--json"]);
    let kinds: serde_json::Value = serde_json::from_str(&kinds).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.kdl");
    let path = path.to_str().unwrap();
    for (kind, schema) in kinds["kinds"].as_object().unwrap() {
        let example = schema["example"].as_str().unwrap();
        fs::write(path, format!("host \"x\" {{\n{example}}}\n")).unwrap();
        let (code, said) = stead(&["validate", path]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = stead(&["explain", kind]);
        assert_eq!(code, Some(0));
        assert!(said.contains(example.lines().next().unwrap()), "{said}");
    }
}
