//! The plan of a spec on a recorded host.

use std::path::Path;

use serde_json::Value;
use stead_engine::{
    language::{provenance::Via, spec::Resource},
    model::change::Change,
    plan::recorded::{ExpectedChange, compared_part},
};

use crate::render::{
    format::escape_control,
    plan_view::{self, Detail, expand_map},
    print::push_line,
    text::plan::attribute,
};

/// Shows what a spec would change, each with its reason. Without colour: it is kept in a file. Paths are told from `directory`.
pub(crate) fn expected_plan(differences: &[ExpectedChange], count: usize, dir: &Path) -> String {
    let mut text = String::new();
    let (mut create, mut change, mut remove, mut restarts) = (0, 0, 0, 0);
    for difference in differences {
        if difference.is_restart {
            restarts += 1;
            text += &change_text(difference, dir);
            text.push('\n');
            continue;
        }
        let counted = match &difference.change {
            Change::Create { .. } => &mut create,
            Change::Update { .. } => &mut change,
            Change::Delete { .. } => &mut remove,
        };
        *counted += 1;
        text += &change_text(difference, dir);
        text.push('\n');
    }
    let noun = if count == 1 { "resource" } else { "resources" };
    let mut parts = plan_view::counts(&[
        (create, "to create"),
        (change, "to change"),
        (remove, "to remove"),
    ]);
    parts.extend(plan_view::restarts(restarts));
    if parts.is_empty() {
        parts.push("no changes".to_owned());
    }
    push_line(
        &mut text,
        format_args!("Plan: {} ({count} {noun}).", parts.join(", ")),
    );
    anstream::adapter::strip_str(&text).to_string()
}

fn change_text(difference: &ExpectedChange, dir: &Path) -> String {
    let resource = &difference.resource;
    let (symbol, before, after) = match &difference.change {
        Change::Create { after } => ("+", None, Some(after.clone())),
        Change::Update { before, after } => {
            ("~", Some(compared_part(before, after)), Some(after.clone()))
        }
        Change::Delete { .. } => ("-", None, None),
    };
    let symbol = if difference.is_restart { "↻" } else { symbol };
    let mut text = format!(
        "  {symbol} {}\n",
        escape_control(&resource.address.to_string())
    );
    let of = |state: &Option<Value>| {
        let map = state.as_ref().and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    };
    let (before, after) = (of(&before), of(&after));
    let attributes: Vec<_> = after
        .iter()
        .flat_map(|(name, new)| expand_map((name, before.get(name), Some(new))))
        .filter(|(_, old, new)| old != new)
        .collect();
    let width = attributes.iter().map(|(name, ..)| name.len()).max();
    for (name, old, new) in &attributes {
        text += &attribute(name, width.unwrap_or(0), *old, *new, Detail::Folded);
    }
    text + &format!("      {}\n", escape_control(&explanation(resource, dir)))
}

fn explanation(resource: &Resource, dir: &Path) -> String {
    let file = &resource.span.source.path;
    let file = file.strip_prefix(dir).unwrap_or(file);
    let place = format!("{}:{}", file.display(), resource.span.line());
    let mut text = match &resource.implied_by {
        Some(by) => format!("added by {by} ({place})"),
        None => format!("from {place}"),
    };
    for step in resource.provenance.via.iter() {
        if let Via::When { condition, .. } = step {
            text.push_str(", when ");
            text.push_str(condition);
        }
    }
    text
}
