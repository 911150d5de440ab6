//! A plan as people read it.

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use serde_json::{Map, Value};
use similar::TextDiff;
use stead_engine::{
    cause::Cause,
    change::{Change, Effects},
    diff,
    plan::{Because, Plan, PlannedChange},
    registry::{Registry, State},
    schema::Schema,
};
use stead_resources::host::Live;

use super::{
    line, paint,
    value::{bytes, plain, took, value},
    wrapped,
};

/// The lines of a text's diff that are shown folded; the rest is counted.
const DIFF_LINES: usize = 60;
/// As many changes of one kind in a row are shown folded; the rest is named.
const ALIKE: usize = 8;
/// The lines of context around a difference.
const CONTEXT: usize = 3;

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What a person reads at a glance.
    Folded,
    /// All of it.
    Whole,
}

/// Shows a plan: each change with its reason, then what it all costs.
pub(crate) fn plan(registry: &Registry<Live>, plan: &Plan, detail: Detail) -> String {
    let mut text = String::new();
    let no_return = plan.point_of_no_return();
    let mut place = 0;
    while let Some(planned) = plan.changes.get(place) {
        if no_return == Some(place) {
            let mark = paint::warning("── point of no return ──");
            line(
                &mut text,
                format_args!("  {mark} from here on not everything can be put back\n"),
            );
        }
        let alike = alike(&plan.changes[place..]);
        let shown = match detail {
            // One more line says as much as the change that it stands for.
            Detail::Folded if alike > ALIKE + 1 => ALIKE,
            _ => alike,
        };
        for planned in &plan.changes[place..place + shown] {
            if let Ok(kind) = registry.of(&planned.address) {
                text += &change(&kind.schema(), kind.restarts(), planned, detail);
                text.push('\n');
            }
        }
        if shown < alike {
            let mark = symbol(&planned.change);
            let kind = &planned.address.kind;
            line(
                &mut text,
                format_args!(
                    "  {mark} {} more of the kind {kind}; `--verbose` shows them\n",
                    alike - shown
                ),
            );
        }
        place += alike;
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

/// Counts how many changes from the first on are of one kind, go the same way, and cost nothing that has to be read.
fn alike(changes: &[PlannedChange]) -> usize {
    let Some(first) = changes.first() else {
        return 0;
    };
    let like = |planned: &&PlannedChange| {
        planned.address.kind == first.address.kind
            && symbol(&planned.change) == symbol(&first.change)
            && planned.effects == Effects::default()
            && planned.cause.is_none()
    };
    changes.iter().take_while(like).count().max(1)
}

fn symbol(change: &Change<State>) -> String {
    match change {
        Change::Create { .. } => paint::added("+"),
        Change::Update { .. } => paint::changed("~"),
        Change::Delete { .. } => paint::removed("-"),
    }
}

fn change(schema: &Schema, restarts: bool, planned: &PlannedChange, detail: Detail) -> String {
    let address = paint::bold(&plain(&planned.address.to_string()));
    let symbol = if restarts {
        paint::changed("↻")
    } else {
        symbol(&planned.change)
    };
    let mut text = format!("  {symbol} {address}\n");
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
        text += &attribute(&name, width, old, new, detail);
    }
    let because = format!("      {}", plain(&because(planned)));
    text + &format!("{}\n", paint::faint(&wrapped(&because)))
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
    detail: Detail,
) -> String {
    if let (Some(one), Some(other)) = (text(old), text(new))
        && (one.contains('\n') || other.contains('\n'))
    {
        return format!("      {name}\n{}", text_diff(one, other, detail));
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

fn text_diff(old: &str, new: &str, detail: Detail) -> String {
    let diff = TextDiff::from_lines(old, new);
    let unified = diff.unified_diff().context_radius(CONTEXT).to_string();
    let mut text = String::new();
    let mut left = 0;
    for (index, shown) in unified.lines().enumerate() {
        if index >= DIFF_LINES && detail == Detail::Folded {
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
            format_args!("        … {left} more lines; `--verbose` shows them"),
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
            row(
                &mut text,
                format_args!("  {address} downloads {}", bytes(effects.download)),
            );
        }
        for service in &effects.restarts {
            let outage = Duration::from_millis(effects.outage);
            row(
                &mut text,
                format_args!(
                    "  {address} restarts {service} (about {} s without it)",
                    outage.as_secs()
                ),
            );
        }
        if let Some(why) = &effects.may_cut_network {
            row(
                &mut text,
                format_args!(
                    "  {} {address}: {why}",
                    paint::warning("may cut the network:")
                ),
            );
        }
        if let Some(what) = &effects.leaves {
            row(
                &mut text,
                format_args!(
                    "  {} {address}: {what}",
                    paint::warning("stays when it is taken back:")
                ),
            );
        }
        if let Some(what) = &effects.irreversible {
            row(
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
        row(
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
        row(
            &mut text,
            format_args!(
                "  could not be seen: {} of {}",
                unseen.attribute, unseen.address
            ),
        );
    }
    if !text.is_empty() {
        row(
            &mut text,
            format_args!("  root can see them: write `sudo stead plan`"),
        );
        text.push('\n');
    }
    text
}

/// Adds a line of prose.
fn row(text: &mut String, row: fmt::Arguments<'_>) {
    line(text, format_args!("{}", wrapped(&row.to_string())));
}

/// Asks whether to carry out a plan, and says what has to be known before.
pub(crate) fn question(plan: &Plan) -> String {
    let effects = || plan.changes.iter().map(|planned| &planned.effects);
    let mut matters = vec![];
    let restarts = plan.summary.restarts;
    if restarts > 0 {
        let noun = if restarts == 1 { "service" } else { "services" };
        let outage: u64 = effects().map(|effects| effects.outage).sum();
        let outage = took(Duration::from_millis(outage));
        matters.push(format!(
            "restarts {restarts} {noun} (away for about {outage})"
        ));
    }
    if plan.summary.download > 0 {
        matters.push(format!("downloads {}", bytes(plan.summary.download)));
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
    use serde_json::json;
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
    fn many_of_a_kind_are_folded() {
        let registry = stead_resources::registry();
        let show = |plan_of: &Plan, detail| plan(&registry, plan_of, detail);
        let paragraphs = |text: &str| text.matches("because host.kdl").count();
        let folded = show(&plan_of(30, &json!({})), Detail::Folded);
        assert_eq!(paragraphs(&folded), ALIKE);
        let rest = "22 more of the kind file; `--verbose` shows them";
        assert!(folded.contains(rest), "{folded}");
        let whole = show(&plan_of(30, &json!({})), Detail::Whole);
        assert_eq!(paragraphs(&whole), 30);
        // What costs something is never folded away, and neither is a single one.
        let costly = plan_of(30, &json!({ "irreversible": "it is gone" }));
        assert_eq!(paragraphs(&show(&costly, Detail::Folded)), 1 + ALIKE);
        let few = plan_of(ALIKE + 1, &json!({}));
        assert_eq!(paragraphs(&show(&few, Detail::Folded)), ALIKE + 1);
    }

    #[test]
    fn the_question_says_what_matters() {
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
