//! The generated pages of the guide: kinds, findings, commands. They are kept in the repository, and a test compares
//! them with the code; `make docs` writes them.
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads and writes the pages of the repository"
)]

mod commands;
mod findings;
mod kinds;
mod page;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use self::page::Pages;

/// Where the guide is.
fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/src")
}

/// Returns all pages that are made from the code.
fn pages() -> Pages {
    let mut pages = Pages::new();
    pages.extend(kinds::pages());
    pages.extend(findings::pages());
    pages.insert("commands.md".to_owned(), commands::page());
    pages
}

/// Returns SUMMARY.md with a line for each page that is in a directory, where such lines are already.
fn list_pages(summary: &str, pages: &Pages) -> String {
    let mut text = String::new();
    let mut dirs = vec![];
    for line in summary.split_inclusive('\n') {
        let dir = ["kinds", "findings"]
            .into_iter()
            .find(|dir| line.contains(&format!("]({dir}/")));
        let Some(dir) = dir else {
            text.push_str(line);
            continue;
        };
        if dirs.contains(&dir) {
            continue;
        }
        dirs.push(dir);
        let inside = format!("{dir}/");
        for path in pages.keys().filter(|path| path.starts_with(&inside)) {
            let name = path.trim_start_matches(&inside).trim_end_matches(".md");
            writeln!(text, "  - [{name}]({path})").unwrap();
        }
    }
    text
}

/// Returns the files that are there in the directories of made pages.
fn existing_pages() -> Vec<String> {
    let mut kept = vec![];
    for dir in ["kinds", "findings"] {
        for entry in fs::read_dir(guide().join(dir)).into_iter().flatten() {
            let name = entry.unwrap().file_name();
            kept.push(format!("{dir}/{}", name.to_str().unwrap()));
        }
    }
    kept
}

fn write(pages: &Pages) {
    for path in existing_pages() {
        if !pages.contains_key(&path) {
            fs::remove_file(guide().join(path)).unwrap();
        }
    }
    for (path, text) in pages {
        let path = guide().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn guide_pages_match_the_code() {
    let mut pages = pages();
    let summary = fs::read_to_string(guide().join("SUMMARY.md")).unwrap();
    pages.insert("SUMMARY.md".to_owned(), list_pages(&summary, &pages));
    if std::env::var_os("UPDATE").is_some() {
        write(&pages);
    }
    let anew = "`make docs` writes the pages anew";
    for (path, text) in &pages {
        let kept = fs::read_to_string(guide().join(path)).unwrap_or_default();
        assert_eq!(text, &kept, "docs/guide/src/{path}: {anew}");
    }
    for path in existing_pages() {
        let is_made = pages.contains_key(&path);
        assert!(is_made, "docs/guide/src/{path} is of nothing: {anew}");
    }
}

#[test]
fn summary_lists_every_page_once_and_in_order() {
    let pages = ["kinds/a.md", "kinds/b.md", "findings/x.md"];
    let pages: Pages = pages
        .map(|path| (path.to_owned(), String::new()))
        .into_iter()
        .collect();
    let summary = "- [Kinds](kinds.md)\n  - [old](kinds/old.md)\n  - [b](kinds/b.md)\n- [Findings](findings.md)\n  - [y](findings/y.md)\n- [End](end.md)\n";
    assert_eq!(
        list_pages(summary, &pages),
        "- [Kinds](kinds.md)\n  - [a](kinds/a.md)\n  - [b](kinds/b.md)\n- [Findings](findings.md)\n  - [x](findings/x.md)\n- [End](end.md)\n"
    );
}
