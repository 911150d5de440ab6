//! The KDL of the documentation is valid: every block of a doc comment, and the example of every kind.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads the sources and stops at the first surprise"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of KDL, and where they stand.
struct Snippet {
    location: String,
    text: String,
}

/// Returns the files of Rust below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the blocks of KDL in the doc comments of a source. A block that the comment does not close is one too, and fails.
fn snippets(path: &Path, source: &str) -> Vec<Snippet> {
    let mut snippets: Vec<Snippet> = vec![];
    let mut is_open = false;
    for (index, line) in source.lines().enumerate() {
        let line = line.trim_start();
        let comment = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))
            .map(|comment| comment.strip_prefix(' ').unwrap_or(comment));
        match comment {
            Some("```kdl") => snippets.push(Snippet {
                location: format!("{}:{}", path.display(), index + 2),
                text: String::new(),
            }),
            Some("```") => {}
            Some(comment) if is_open => {
                let snippet = snippets.last_mut().unwrap();
                snippet.text += comment;
                snippet.text += "\n";
            }
            _ => assert!(
                !is_open || comment.is_some(),
                "{}:{}: the block of KDL is not closed",
                path.display(),
                index + 1
            ),
        }
        is_open = match comment {
            Some("```kdl") => true,
            Some("```") => false,
            _ => is_open,
        };
    }
    snippets
}

/// Validates resources as those of a host.
fn validate(snippet: &Snippet, path: &Path) -> Result<(), String> {
    fs::write(path, format!("host \"example\" {{\n{}\n}}\n", snippet.text)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["validate", path.to_str().unwrap()])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{}:\n{message}", snippet.location))
}

fn validate_all(snippets: &[Snippet]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.kdl");
    let results = snippets.iter().map(|snippet| validate(snippet, &path));
    let errors: Vec<String> = results.filter_map(Result::err).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn doc_comments_contain_valid_kdl() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut snippets_of_all = vec![];
    for entry in fs::read_dir(crates).unwrap() {
        let directory = entry.unwrap().path().join("src");
        for path in rust_files(&directory) {
            snippets_of_all.extend(snippets(&path, &fs::read_to_string(&path).unwrap()));
        }
    }
    validate_all(&snippets_of_all);

    let registry = stead_resources::registry();
    for (kind, _) in registry.iter() {
        let has_it = |snippet: &Snippet| snippet.text.starts_with(&format!("{kind} "));
        assert!(
            snippets_of_all.iter().any(has_it),
            "no doc comment shows the KDL of the kind `{kind}`"
        );
    }
}

#[test]
fn examples_of_kinds_are_valid() {
    let registry = stead_resources::registry();
    let examples = registry.iter().map(|(kind, provider)| Snippet {
        location: format!("example of the kind `{kind}`"),
        text: provider.schema().example.to_owned(),
    });
    validate_all(&examples.collect::<Vec<_>>());
}
