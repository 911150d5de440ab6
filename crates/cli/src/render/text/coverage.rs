//! The report of an import: what was written, and what was left out and why.

use std::collections::BTreeSet;

use stead_engine::import::coverage::{Coverage, KindCoverage};

use crate::render::{
    format::escape_control,
    print::{push_line, style},
    terminal::wrap_for_stderr,
};

/// How many names are shown before the rest is counted.
const MAX_NAMES: usize = 6;

/// Reports what was written and left out, a line for each kind and each rule.
pub(crate) fn coverage(coverage: &Coverage) -> String {
    let mut text = String::new();
    let width = coverage.0.keys().map(String::len).max().unwrap_or(0);
    for (kind, found) in &coverage.0 {
        let counts = match (&found.not_importable, counts(found)) {
            (Some(why), _) => escape_control(why),
            (None, counts) if counts.is_empty() => "nothing".to_owned(),
            (None, counts) => counts.join(", "),
        };
        let kind = style::bold(&format!("{kind:width$}"));
        let row = wrap_for_stderr(&format!("  {kind}  {counts}"));
        push_line(&mut text, format_args!("{row}"));
        let mut add_row = |what: String, names: String| {
            let row = wrap_for_stderr(&format!("  {:width$}    {what}: {names}", ""));
            push_line(&mut text, format_args!("{row}"));
        };
        for (whose, count) in &found.foreign {
            add_row(format!("made by {whose}"), count.to_string());
        }
        for (rule, names) in &found.ignored {
            add_row(escape_control(rule), join_limited(names));
        }
        if !found.secrets.is_empty() {
            add_row("secrets, left out".to_owned(), join_limited(&found.secrets));
        }
        for (name, why) in &found.unreadable {
            let name = escape_control(name);
            add_row(
                style::warning("not written"),
                format!("{name}: {}", escape_control(why)),
            );
        }
    }
    text
}

fn counts(found: &KindCoverage) -> Vec<String> {
    let foreign: usize = found.foreign.values().sum();
    let ignored: usize = found.ignored.values().map(BTreeSet::len).sum();
    let counts = [
        (found.managed.len(), "written"),
        (found.default, "default"),
        (foreign, "made by known programs"),
        (ignored, "ignored"),
        (found.secrets.len(), "secret"),
        (found.unreadable.len(), "not written"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
}

fn join_limited(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| escape_control(name))
        .collect();
    if names.len() > MAX_NAMES {
        shown.push(format!("{} more", names.len() - MAX_NAMES));
    }
    shown.join(", ")
}
