//! The README and the guide: what they show is so, and where they lead something is. `UPDATE=1` writes down what comes of what they show.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads and writes the pages of the repository, and stops at the first surprise"
)]

use std::{collections::BTreeSet, fs, process::Command};

use e2e::{
    Sandbox, TestEnv,
    document::{
        BlockKind, GUIDE, Page, anchors, check_seen_by_test, guide_pages, handwritten_pages, links,
        mentioned_commands, repository, run_all,
    },
    program,
};

/// Runs stead on this machine, and returns whether it ended well and what it said.
fn stead(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("stead"));
    let output = command.args(arguments).env("NO_COLOR", "1").output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn documents_match_output_in_sandboxes() {
    run_all(None, || {
        let sandbox = Sandbox::new();
        // What this machine sets at boot is no part of what the pages show.
        sandbox.run_ok(&["sh", "-c", "rm -f /etc/sysctl.d/*; echo >/etc/sysctl.conf"]);
        sandbox
    });
}

#[test]
fn document_blocks_are_all_run_or_checked() {
    let mut wrong = vec![];
    for page in handwritten_pages() {
        for block in page.blocks() {
            let shown = page.text_of(&block);
            let why = match &block.kind {
                BlockKind::Unknown(info) => Some(format!(
                    "nobody runs a block of `{info}`; what there is says tests/src/document.rs"
                )),
                BlockKind::SeenByTest(test) => check_seen_by_test(test, shown, &page.path).err(),
                BlockKind::Form if shown.contains("$ ") => {
                    Some("commands are run in `console`".to_owned())
                }
                _ => None,
            };
            wrong.extend(why.map(|why| format!("{}: {why}\n{shown}", page.path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn document_specs_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.kdl");
    let name = path.to_str().unwrap();
    let mut checked = 0;
    for page in handwritten_pages() {
        for block in page.blocks() {
            if block.kind != BlockKind::Spec {
                continue;
            }
            let text = page.text_of(&block);
            let is_whole = text.lines().any(|line| line.starts_with("host "));
            let spec = if is_whole {
                text.to_owned()
            } else {
                format!("host \"page\" {{\n{text}\n}}\n")
            };
            fs::write(&path, spec).unwrap();
            let (is_well, said) = stead(&["validate", name]);
            assert!(is_well, "{}: {said}", page.path.display());
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn document_commands_parse() {
    let mut checked = 0;
    for page in handwritten_pages() {
        for command in mentioned_commands(&page) {
            let words = command["stead ".len()..].replace("RUN", "1");
            let words = format!("exec \"$0\" {words} --help");
            let stead = program("stead");
            let output = Command::new("sh").args(["-c", &words]).arg(stead).output();
            let output = output.unwrap();
            assert!(
                output.status.success(),
                "{}: `{command}`: {}",
                page.path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            checked += 1;
        }
    }
    assert!(checked > 10);
}

#[test]
fn document_links_resolve() {
    let pages = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(Page::read);
    let mut wrong = vec![];
    for page in pages.into_iter().chain(guide_pages()) {
        for link in links(&page) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let dir = page.path.parent().unwrap();
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                dir.join(path)
            };
            let is_there = repository().join(&target).exists();
            // A book has nothing of what is beside it.
            let leaves = page.path.starts_with(GUIDE) && path.starts_with("..") && {
                let real = repository().join(&target).canonicalize();
                real.is_ok_and(|real| !real.starts_with(repository().join(GUIDE)))
            };
            let has_anchor = || {
                let target = Page::read(&target);
                anchors(&target).iter().any(|known| known == anchor)
            };
            if !is_there || leaves || !anchor.is_empty() && !has_anchor() {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn guide_pages_are_in_the_summary_once() {
    let summary = Page::read(format!("{GUIDE}/SUMMARY.md"));
    let listed = links(&summary);
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "{listed:?}");
    let there = guide_pages().into_iter().map(|page| {
        let below = page.path.strip_prefix(GUIDE).unwrap();
        below.to_str().unwrap().to_owned()
    });
    let there: BTreeSet<String> = there.filter(|path| path != "SUMMARY.md").collect();
    let listed: BTreeSet<String> = listed.into_iter().collect();
    assert_eq!(listed, there);
}

#[test]
fn guide_pages_begin_with_their_title() {
    for page in guide_pages() {
        let text = page.text.lines().filter(|line| !line.starts_with("<!--"));
        let first = text.into_iter().find(|line| !line.is_empty()).unwrap();
        assert!(first.starts_with("# "), "{}", page.path.display());
    }
}
