//! A plan as people read it.

use std::{fmt, path::Path, time::Duration};

use stead_engine::{model::change::Effects, plan::document::Plan, provider::registry::Registry};
use stead_resources::host::LinuxHost;

use crate::render::{
    format::{escape_control, format_bytes, format_duration, one_line},
    plan_view::{self, AttributeDiff, ChangeView, Detail, Side, Symbol, UnifiedDiff},
    print::{push_line, style},
    terminal::wrap_for_stdout,
};

/// As many changes of one kind in a row are shown folded; the rest is counted.
const MAX_ALIKE: usize = 8;

/// Shows a plan: each change with its reason, then what it all costs.
pub(crate) fn plan(registry: &Registry<LinuxHost>, plan: &Plan, detail: Detail) -> String {
    let mut text = String::new();
    let changes = plan_view::changes(registry, plan);
    let mut left = changes.as_slice();
    while let Some(first) = left.first() {
        if first.is_point_of_no_return {
            let mark = style::warning("── point of no return ──");
            push_line(
                &mut text,
                format_args!("  {mark} what follows cannot be undone\n"),
            );
        }
        let (alike, others) = left.split_at(count_alike(left));
        let shown = match detail {
            // One more line says as much as the change that it stands for.
            Detail::Folded if alike.len() > MAX_ALIKE + 1 => MAX_ALIKE,
            _ => alike.len(),
        };
        for shown in &alike[..shown] {
            text += &change(shown, detail);
            text.push('\n');
        }
        if shown < alike.len() {
            let symbol = symbol(first.symbol);
            let (count, kind) = (alike.len() - shown, &first.planned.address.kind);
            push_line(
                &mut text,
                format_args!(
                    "  {symbol} {count} more of the kind {kind}; `--verbose` shows them\n"
                ),
            );
        }
        left = others;
    }
    text += &costs(plan);
    text += &remarks(plan);
    text += &unobserved(plan);
    text += &plan_view::summary(plan);
    text.push('\n');
    text
}

/// Says that nothing differs.
pub(crate) fn no_changes(plan: &Plan, source: &Path, time: Duration) -> String {
    let count = plan.summary.resources;
    let noun = if count == 1 { "resource" } else { "resources" };
    format!(
        "{}{}No changes. The host matches {} ({count} {noun} read in {} ms).\n",
        remarks(plan),
        unobserved(plan),
        source.display(),
        time.as_millis()
    )
}

/// Counts how many changes from the first on are of one kind, go the same way, and cost nothing that has to be read.
fn count_alike(changes: &[ChangeView<'_>]) -> usize {
    let Some(first) = changes.first() else {
        return 0;
    };
    let like = |shown: &&ChangeView<'_>| {
        shown.planned.address.kind == first.planned.address.kind
            && shown.symbol == first.symbol
            && shown.planned.effects == Effects::default()
            && shown.planned.cause.is_none()
    };
    changes.iter().take_while(like).count().max(1)
}

fn symbol(symbol: Symbol) -> String {
    let character = symbol.character();
    match symbol {
        Symbol::Create => style::added(character),
        Symbol::Update | Symbol::Restart => style::changed(character),
        Symbol::Delete => style::removed(character),
    }
}

/// Shows one change.
pub(crate) fn change(shown: &ChangeView<'_>, detail: Detail) -> String {
    let address = one_line(&shown.planned.address.to_string());
    let symbol = symbol(shown.symbol);
    let mut text = format!("  {symbol} {}\n", style::bold(&address));
    let names = shown.attributes.iter().map(|(name, ..)| name.len());
    let width = names.max().unwrap_or(0);
    for (name, old, new) in &shown.attributes {
        text += &attribute(name, width, *old, *new, detail);
    }
    let because = format!("      {}", one_line(&plan_view::explanation(shown.planned)));
    text + &format!("{}\n", style::faint(&wrap_for_stdout(&because)))
}

/// Shows one attribute, old and new.
pub(super) fn attribute(
    name: &str,
    width: usize,
    old: Side<'_>,
    new: Side<'_>,
    detail: Detail,
) -> String {
    let (old, new) = match plan_view::attribute_diff(old, new, detail) {
        AttributeDiff::Multiline(unified) => return format!("      {name}\n{}", diff(&unified)),
        AttributeDiff::Inline { old, new } => (old, new),
    };
    let old = old.map(|old| style::removed(&old));
    let new = new.map(|new| style::added(&new));
    let line = match (old, new) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (one, other) => one.or(other).unwrap_or_default(),
    };
    format!("      {name:width$}  {line}\n")
}

fn diff(unified: &UnifiedDiff) -> String {
    let mut text = String::new();
    for shown in &unified.lines {
        let shown = match shown.chars().next() {
            Some('+') => style::added(shown),
            Some('-') => style::removed(shown),
            Some('@') => style::faint(shown),
            _ => shown.clone(),
        };
        push_line(&mut text, format_args!("        {shown}"));
    }
    if unified.omitted > 0 {
        push_line(
            &mut text,
            format_args!(
                "        … {} more lines; `--verbose` shows them",
                unified.omitted
            ),
        );
    }
    text
}

fn costs(plan: &Plan) -> String {
    let mut text = String::new();
    for cost in plan_view::costs(plan) {
        let address = one_line(&cost.address.to_string());
        let said = one_line(&cost.text);
        match cost.warning {
            None => push_row(&mut text, format_args!("  {address} {said}")),
            Some(warning) => {
                let warning = style::warning(&format!("{warning}:"));
                push_row(&mut text, format_args!("  {warning} {address}: {said}"));
            }
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn remarks(plan: &Plan) -> String {
    let mut text = String::new();
    for remark in &plan.remarks {
        let said = escape_control(&remark.text);
        push_row(
            &mut text,
            format_args!("  note: {}: {said}", remark.address),
        );
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn unobserved(plan: &Plan) -> String {
    let mut text = String::new();
    for unseen in &plan.unobserved {
        push_row(
            &mut text,
            format_args!(
                "  could not be read: {} of {}",
                unseen.attribute, unseen.address
            ),
        );
    }
    if !text.is_empty() {
        push_row(
            &mut text,
            format_args!("  only root can read them: run `sudo stead plan`"),
        );
        text.push('\n');
    }
    text
}

/// Adds a line of prose.
fn push_row(text: &mut String, row: fmt::Arguments<'_>) {
    push_line(text, format_args!("{}", wrap_for_stdout(&row.to_string())));
}

/// Asks whether to carry out a plan, and says what has to be known before.
pub(crate) fn question(plan: &Plan) -> String {
    let effects = || plan.changes.iter().map(|planned| &planned.effects);
    let mut matters = vec![];
    let restarts = plan.summary.restarts;
    if restarts > 0 {
        let noun = if restarts == 1 { "service" } else { "services" };
        let outage: u64 = effects().map(|effects| effects.outage).sum();
        let outage = format_duration(Duration::from_millis(outage));
        matters.push(format!(
            "restarts {restarts} {noun} (away for about {outage})"
        ));
    }
    if plan.summary.download > 0 {
        matters.push(format!("downloads {}", format_bytes(plan.summary.download)));
    }
    if effects().any(|effects| effects.may_cut_network.is_some()) {
        matters.push("may cut the network".to_owned());
    }
    let forever = effects().filter(|effects| effects.irreversible.is_some());
    match forever.count() {
        0 => {}
        1 => matters.push("makes 1 change that cannot be undone".to_owned()),
        count => matters.push(format!("makes {count} changes that cannot be undone")),
    }
    let matters = match matters.as_slice() {
        [] => String::new(),
        [one] => format!(" It {one}."),
        [all @ .., last] => format!(" It {} and {last}.", all.join(", ")),
    };
    format!("Apply this plan?{matters} [y/N] ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A plan with files to create and effects of the first of them.
    fn plan_of(files: usize, effects: &Value) -> Plan {
        let change = |number: usize| {
            json!({
                "address": format!("file:/srv/{number}"),
                "action": "create",
                "after": { "content": "x\n" },
                "because": { "reason": "spec", "file": "host.kdl", "line": number },
                "effects": if number == 0 { effects.clone() } else { json!({}) },
            })
        };
        let count = effects["restarts"].as_array().map_or(0, Vec::len);
        let document = json!({
            "format": "stead.plan/1",
            "host": "test",
            "changes": (0..files).map(change).collect::<Vec<_>>(),
            "unseen": [],
            "summary": {
                "create": files, "change": 0, "remove": 0, "restarts": count,
                "download": effects["download"].as_u64().unwrap_or(0), "resources": files,
            },
            "wanted": [],
            "readings": {},
            "fingerprint": "",
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn plan_folds_many_changes_of_one_kind() {
        let registry = stead_resources::registry();
        let show = |plan_of: &Plan, detail| plan(&registry, plan_of, detail);
        let paragraphs = |text: &str| text.matches("from host.kdl").count();
        let folded = show(&plan_of(30, &json!({})), Detail::Folded);
        assert_eq!(paragraphs(&folded), MAX_ALIKE);
        let rest = "22 more of the kind file; `--verbose` shows them";
        assert!(folded.contains(rest), "{folded}");
        let whole = show(&plan_of(30, &json!({})), Detail::Whole);
        assert_eq!(paragraphs(&whole), 30);
        // What costs something is never folded away, and neither is a single one.
        let costly = plan_of(30, &json!({ "irreversible": "it is gone" }));
        assert_eq!(paragraphs(&show(&costly, Detail::Folded)), 1 + MAX_ALIKE);
        let few = plan_of(MAX_ALIKE + 1, &json!({}));
        assert_eq!(paragraphs(&show(&few, Detail::Folded)), MAX_ALIKE + 1);
    }

    #[test]
    fn question_names_restarts_downloads_and_risks() {
        let check = |effects: Value, expected: &str| {
            assert_eq!(question(&plan_of(2, &effects)), expected);
        };
        check(json!({}), "Apply this plan? [y/N] ");
        check(
            json!({ "restarts": ["a", "b"], "outage": 20_000, "download": 50_000_000 }),
            "Apply this plan? It restarts 2 services (away for about 20.0 s) and downloads 50 MB. [y/N] ",
        );
        check(
            json!({ "may_cut_network": "why", "irreversible": "what", "download": 1 }),
            "Apply this plan? It downloads 1 B, may cut the network and makes 1 change that cannot be undone. [y/N] ",
        );
    }
}
