//! The report of an import: what was written, and what was left out and why.

use std::collections::BTreeSet;

use stead_engine::import::coverage::{Coverage, KindCoverage};

use crate::render::{
    format::plain,
    print::{line, paint},
    terminal::wrapped_aside,
};

/// How many names are shown before the rest is counted.
const SHOWN: usize = 6;

/// Reports what was written and left out, a line for each kind and each rule.
pub(crate) fn coverage(coverage: &Coverage) -> String {
    let mut text = String::new();
    let width = coverage.0.keys().map(String::len).max().unwrap_or(0);
    for (kind, found) in &coverage.0 {
        let counts = match (&found.outside, counts(found)) {
            (Some(why), _) => plain(why),
            (None, counts) if counts.is_empty() => "nothing".to_owned(),
            (None, counts) => counts.join(", "),
        };
        let kind = paint::bold(&format!("{kind:width$}"));
        let row = wrapped_aside(&format!("  {kind}  {counts}"));
        line(&mut text, format_args!("{row}"));
        let mut tell = |what: String, names: String| {
            let row = wrapped_aside(&format!("  {:width$}    {what}: {names}", ""));
            line(&mut text, format_args!("{row}"));
        };
        for (whose, count) in &found.foreign {
            tell(format!("made by {whose}"), count.to_string());
        }
        for (rule, names) in &found.ignored {
            tell(plain(rule), shown(names));
        }
        if !found.secrets.is_empty() {
            tell("secrets, left out".to_owned(), shown(&found.secrets));
        }
        for (name, why) in &found.unreadable {
            let name = plain(name);
            tell(
                paint::warning("not written"),
                format!("{name}: {}", plain(why)),
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

fn shown(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| plain(name)).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    shown.join(", ")
}
