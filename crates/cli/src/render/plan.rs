//! A plan as people read it.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Map, Value};
use similar::TextDiff;
use stead_engine::{
    cause::Cause,
    change::Change,
    diff,
    plan::{Because, Plan, PlannedChange},
    registry::{Registry, State},
    schema::Schema,
};
use stead_resources::host::Live;

use super::{
    line, paint,
    value::{bytes, plain, value},
};

/// The lines of a text's diff that are shown; the rest is counted.
const DIFF_LINES: usize = 60;
/// The lines of context around a difference.
const CONTEXT: usize = 3;

/// Shows a plan: each change with its reason, then what it all costs.
pub(crate) fn plan(registry: &Registry<Live>, plan: &Plan) -> String {
    let mut text = String::new();
    let no_return = plan.point_of_no_return();
    for (place, planned) in plan.changes.iter().enumerate() {
        let Ok(kind) = registry.of(&planned.address) else {
            continue;
        };
        if no_return == Some(place) {
            let mark = paint::warning("── point of no return ──");
            line(
                &mut text,
                format_args!("  {mark} from here on not everything can be put back\n"),
            );
        }
        text += &change(&kind.schema(), kind.restarts(), planned);
        text.push('\n');
    }
    text += &costs(plan);
    text += &remarks(plan);
    text += &unseen(plan);
    text += &summary(plan);
    text
}

/// Says that nothing differs.
pub(crate) fn no_changes(plan: &Plan, source: &Path, time: Duration) -> String {
    let count = plan.summary.resources;
    let noun = if count == 1 { "resource" } else { "resources" };
    format!(
        "{}{}No changes. The host matches {} ({count} {noun} read in {} ms).\n",
        remarks(plan),
        unseen(plan),
        source.display(),
        time.as_millis()
    )
}

fn change(schema: &Schema, restarts: bool, planned: &PlannedChange) -> String {
    let address = plain(&planned.address.to_string());
    let mut text = match &planned.change {
        _ if restarts => format!("  {} {}\n", paint::changed("↻"), paint::bold(&address)),
        Change::Create { .. } => format!("  {} {}\n", paint::added("+"), paint::bold(&address)),
        Change::Update { .. } => format!("  {} {}\n", paint::changed("~"), paint::bold(&address)),
        Change::Delete { .. } => format!("  {} {}\n", paint::removed("-"), paint::bold(&address)),
    };
    let attributes: Vec<(&str, Option<&Value>, Option<&Value>)> = match &planned.change {
        Change::Create { after } => shown(schema, after)
            .map(|(name, new)| (name, None, Some(new)))
            .collect(),
        Change::Update { before, after } => diff::differences(schema, before, after)
            .map(|name| (name, Some(&before[name]), Some(&after[name])))
            .collect(),
        Change::Delete { before } => shown(schema, before)
            .map(|(name, old)| (name, Some(old), None))
            .collect(),
    };
    let attributes: Vec<_> = attributes.into_iter().flat_map(unfolded).collect();
    let width = attributes
        .iter()
        .map(|(name, ..)| name.len())
        .max()
        .unwrap_or(0);
    for (name, old, new) in attributes {
        text += &attribute(&name, width, old, new);
    }
    text + &format!("      {}\n", paint::faint(&plain(&because(planned))))
}

/// One side of a difference; `None` where it has nothing.
pub(super) type Side<'a> = Option<&'a Value>;

/// Unfolds a map into those of its keys that differ.
pub(super) fn unfolded<'a>(
    (name, old, new): (&'a str, Side<'a>, Side<'a>),
) -> Vec<(String, Side<'a>, Side<'a>)> {
    let map = |side: Side<'a>| side.and_then(Value::as_object);
    let is_setting = |side: Side<'a>| {
        side.is_some_and(|value| value.get("unset").is_some() || value.get("sha256").is_some())
    };
    let is_map = [old, new]
        .iter()
        .all(|side| side.is_none() || map(*side).is_some());
    if !is_map || is_setting(old) || is_setting(new) {
        return vec![(name.to_owned(), old, new)];
    }
    let keys: BTreeSet<_> = [map(old), map(new)]
        .into_iter()
        .flatten()
        .flat_map(Map::keys)
        .collect();
    let get = |side: Side<'a>, key: &str| {
        let value = map(side).and_then(|map| map.get(key));
        value.filter(|value| !value.is_null())
    };
    keys.into_iter()
        .map(|key| (key.clone(), get(old, key), get(new, key)))
        .filter(|(_, old, new)| old != new)
        .collect()
}

fn shown<'a>(schema: &Schema, state: &'a State) -> impl Iterator<Item = (&'static str, &'a Value)> {
    schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_compared())
        .map(|attribute| (attribute.name, &state[attribute.name]))
        .filter(|(_, value)| !is_nothing(value))
}

/// Whether a value says that something is not there, which goes without saying for what comes or goes.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.get("unset").is_some()
}

/// Shows one attribute, old and new.
pub(super) fn attribute(
    name: &str,
    width: usize,
    old: Option<&Value>,
    new: Option<&Value>,
) -> String {
    if let (Some(one), Some(other)) = (text(old), text(new))
        && (one.contains('\n') || other.contains('\n'))
    {
        return format!("      {name}\n{}", text_diff(one, other));
    }
    let line = match (old, new) {
        (Some(old), Some(new)) => {
            format!(
                "{} → {}",
                paint::removed(&value(old)),
                paint::added(&value(new))
            )
        }
        (None, Some(new)) => paint::added(&value(new)),
        (Some(old), None) => paint::removed(&value(old)),
        (None, None) => String::new(),
    };
    format!("      {name:width$}  {line}\n")
}

/// Returns a side as a text; nothing is an empty one.
fn text(side: Side<'_>) -> Option<&str> {
    match side {
        Some(side) if side.get("unset").is_none() => side.as_str(),
        _ => Some(""),
    }
}

fn text_diff(old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let unified = diff.unified_diff().context_radius(CONTEXT).to_string();
    let mut text = String::new();
    let mut left = 0;
    for (index, shown) in unified.lines().enumerate() {
        if index >= DIFF_LINES {
            left += 1;
            continue;
        }
        let shown = plain(shown);
        let shown = match shown.chars().next() {
            Some('+') => paint::added(&shown),
            Some('-') => paint::removed(&shown),
            Some('@') => paint::faint(&shown),
            _ => shown,
        };
        line(&mut text, format_args!("        {shown}"));
    }
    if left > 0 {
        line(
            &mut text,
            format_args!("        … {left} more lines; `--json` has all of them"),
        );
    }
    text
}

fn because(planned: &PlannedChange) -> String {
    let because = wanted_by(&planned.because);
    match &planned.cause {
        Some(cause) => format!("{because}; {}", moved_by(cause)),
        None => because,
    }
}

fn moved_by(cause: &Cause) -> String {
    match cause {
        Cause::Spec { run, is_new: true } => format!("run {run} did not ask for it yet"),
        Cause::Spec { run, .. } => format!("run {run} asked for something else"),
        Cause::Follows { address } => format!("due because {address} changes"),
        Cause::Reboot { run } => format!("lost at a reboot since run {run}"),
        Cause::Actor {
            run,
            actor,
            evidence,
        } => format!("{actor} has changed it since run {run} ({evidence})"),
        Cause::Hand {
            run,
            person,
            evidence,
        } => format!("{person} has changed it by hand since run {run} ({evidence})"),
        Cause::Changed { run, evidence } => format!("changed since run {run} ({evidence})"),
        Cause::Unknown { run } => format!("changed since run {run}, nobody knows by whom"),
    }
}

fn wanted_by(because: &Because) -> String {
    match because {
        Because::Spec { file, line } => format!("because {}:{line}", file.display()),
        Because::Implied { by, file, line } => {
            format!("because {by} brings it, {}:{line}", file.display())
        }
        Because::Undo { run } => format!("because run {run} is taken back"),
    }
}

fn costs(plan: &Plan) -> String {
    let mut text = String::new();
    for PlannedChange {
        address, effects, ..
    } in &plan.changes
    {
        if effects.download > 0 {
            line(
                &mut text,
                format_args!("  {address} downloads {}", bytes(effects.download)),
            );
        }
        for service in &effects.restarts {
            let outage = Duration::from_millis(effects.outage);
            line(
                &mut text,
                format_args!(
                    "  {address} restarts {service} (about {} s without it)",
                    outage.as_secs()
                ),
            );
        }
        if let Some(why) = &effects.may_cut_network {
            line(
                &mut text,
                format_args!(
                    "  {} {address}: {why}",
                    paint::warning("may cut the network:")
                ),
            );
        }
        if let Some(what) = &effects.leaves {
            line(
                &mut text,
                format_args!(
                    "  {} {address}: {what}",
                    paint::warning("stays when it is taken back:")
                ),
            );
        }
        if let Some(what) = &effects.irreversible {
            line(
                &mut text,
                format_args!(
                    "  {} {address}: {what}",
                    paint::warning("cannot be undone:")
                ),
            );
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
        let said = plain(&remark.text);
        line(
            &mut text,
            format_args!("  note: {}: {said}", remark.address),
        );
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn unseen(plan: &Plan) -> String {
    let mut text = String::new();
    for unseen in &plan.unseen {
        line(
            &mut text,
            format_args!(
                "  could not be seen: {} of {}",
                unseen.attribute, unseen.address
            ),
        );
    }
    if !text.is_empty() {
        line(
            &mut text,
            format_args!("  root can see them: write `sudo stead plan`"),
        );
        text.push('\n');
    }
    text
}

fn summary(plan: &Plan) -> String {
    let summary = &plan.summary;
    let noun = if summary.restarts == 1 {
        "restart"
    } else {
        "restarts"
    };
    format!(
        "Plan: {} to create, {} to change, {} to remove, {} {noun}, {} to download.\n",
        summary.create,
        summary.change,
        summary.remove,
        summary.restarts,
        bytes(summary.download)
    )
}

#[cfg(test)]
mod tests {
    use stead_engine::address::Address;

    use super::*;

    #[test]
    fn a_cause_is_one_short_sentence() {
        let check = |cause: Cause, expected: &str| assert_eq!(moved_by(&cause), expected);
        let (run, is_new) = (3, false);
        let evidence = || "seen".to_owned();
        check(
            Cause::Spec { run, is_new },
            "run 3 asked for something else",
        );
        let is_new = true;
        check(Cause::Spec { run, is_new }, "run 3 did not ask for it yet");
        let address = Address::new("kube-args", "kubelet");
        let due = "due because kube-args:kubelet changes";
        check(Cause::Follows { address }, due);
        check(Cause::Reboot { run }, "lost at a reboot since run 3");
        let docker = Cause::Actor {
            run,
            actor: "Docker".to_owned(),
            evidence: evidence(),
        };
        check(docker, "Docker has changed it since run 3 (seen)");
        let hand = Cause::Hand {
            run,
            person: "alice".to_owned(),
            evidence: evidence(),
        };
        check(hand, "alice has changed it by hand since run 3 (seen)");
        let changed = Cause::Changed {
            run,
            evidence: evidence(),
        };
        check(changed, "changed since run 3 (seen)");
        let unknown = "changed since run 3, nobody knows by whom";
        check(Cause::Unknown { run }, unknown);
    }
}
