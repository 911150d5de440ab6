//! The pages of the guide about findings of `stead doctor`.

use std::fmt::Write as _;

use stead_resources::doctor::{finding::FindingRule, rules};

use crate::reference::page::{GENERATED_NOTE, Pages, cell};

const INTRODUCTION: &str = "\
# Findings

The problems that `stead doctor` looks for. `stead explain FINDING` shows the page of one in the terminal. Doctor changes nothing.

Words in capitals are placeholders for what doctor finds: the name of a service, a program, a file.

";

/// Returns the page of each finding, and the list of them.
pub(super) fn pages() -> Pages {
    let mut list = format!("{GENERATED_NOTE}{INTRODUCTION}| finding | problem |\n|---|---|\n");
    let mut pages = Pages::new();
    for rule in rules() {
        let name = rule.name;
        let path = format!("findings/{name}.md");
        writeln!(list, "| [{name}]({path}) | {} |", cell(rule.fact)).unwrap();
        pages.insert(path, page(rule));
    }
    pages.insert("findings.md".to_owned(), list);
    pages
}

fn page(rule: &FindingRule) -> String {
    let FindingRule {
        name,
        fact,
        why,
        criterion,
        by_hand,
        spec,
    } = rule;
    let mut text = format!(
        "{GENERATED_NOTE}# {name}\n\nProblem: {fact}.\n\n## What is checked\n\n{criterion}\n\n## Why it matters\n\n{why}\n\n## Fix now\n\n"
    );
    for way in *by_hand {
        writeln!(text, "- {}", format_fix(way)).unwrap();
    }
    text.push_str("\n## Fix in a spec\n\n");
    if spec.is_empty() {
        text.push_str("No kind can fix this.\n");
    } else {
        writeln!(text, "```kdl\n{}\n```", spec.join("\n")).unwrap();
        if spec.iter().any(|node| has_capitals(node)) {
            text.push_str("\n`stead doctor --show-fix` fills in the words in capitals.\n");
        }
    }
    text
}

/// A command, and what there is to say of it behind three blanks; or words that have their commands marked already.
fn format_fix(way: &str) -> String {
    let (command, remark) = match way.split_once("   (") {
        Some((command, remark)) => (command, format!(" ({remark}")),
        None => (way, String::new()),
    };
    let program = command.split(' ').next().unwrap_or_default();
    if command.contains('`') || !PROGRAMS.contains(&program) {
        format!("{command}{remark}")
    } else {
        format!("`{command}`{remark}")
    }
}

/// What commands begin with.
const PROGRAMS: [&str; 14] = [
    "PROGRAM",
    "apt-get",
    "firewall-cmd",
    "iptables-nft",
    "journalctl",
    "microk8s",
    "modprobe",
    "resolvectl",
    "rm",
    "snap",
    "sysctl",
    "systemctl",
    "timedatectl",
    "ufw",
];

fn has_capitals(node: &str) -> bool {
    let mut words = node.split(|letter: char| !letter.is_ascii_alphabetic());
    words.any(|word| {
        word.len() > 3 && word != "ACCEPT" && word != "FORWARD" && word == word.to_uppercase()
    })
}
