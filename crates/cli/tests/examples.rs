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
fn every_example_is_valid_and_laid_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hosts");
    let paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
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
fn a_file_that_is_laid_out_otherwise_is_shown_and_then_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.kdl");
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
fn every_kind_is_explained_by_an_example_that_is_valid() {
    let (_, kinds) = stead(&["kinds", "--json"]);
    let kinds: serde_json::Value = serde_json::from_str(&kinds).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.kdl");
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
