//! The contents of a plan for all output formats: its changes and their effects.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value};
use similar::TextDiff;
use stead_engine::{
    model::{address::Address, change::Change, schema::Schema, state::State},
    plan::{
        cause::Cause,
        document::{Plan, PlannedChange, Reason},
        graph::{NodeStyle, NodeStyles},
        merge,
    },
    provider::registry::Registry,
};
use stead_resources::host::LinuxHost;

use crate::render::format::{escape_control, format_bytes, format_value};

/// The lines of a text's diff that are shown folded; the rest is counted.
const MAX_DIFF_LINES: usize = 60;
/// The lines of context around a difference.
const CONTEXT_LINES: usize = 3;

/// How much of a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What a person reads at a glance.
    Folded,
    /// All of it.
    Whole,
}

/// One change of a plan.
pub(crate) struct ChangeView<'a> {
    /// The change itself.
    pub(crate) planned: &'a PlannedChange,
    /// What becomes of the resource, in one character.
    pub(crate) symbol: Symbol,
    /// The attributes that differ.
    pub(crate) attributes: Vec<AttributeChange<'a>>,
    /// Whether it is the first one from which on not everything can be put back.
    pub(crate) is_point_of_no_return: bool,
}

/// What becomes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// It comes.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
    /// It starts anew.
    Restart,
}

/// An attribute, what it is and what it shall be.
pub(crate) type AttributeChange<'a> = (String, Side<'a>, Side<'a>);

/// One side of a difference; `None` where it has nothing.
pub(crate) type Side<'a> = Option<&'a Value>;

/// A difference in words.
pub(crate) enum AttributeDiff {
    /// Both sides fit into a line.
    Inline {
        /// What is there.
        old: Option<String>,
        /// What shall be there.
        new: Option<String>,
    },
    /// One of them is a text of several lines.
    Multiline(UnifiedDiff),
}

/// A unified diff of two texts.
pub(crate) struct UnifiedDiff {
    /// Its lines, safe to show.
    pub(crate) lines: Vec<String>,
    /// How many more there are.
    pub(crate) omitted: usize,
}

/// Something that a plan costs.
pub(crate) struct Cost<'a> {
    /// Which change costs it.
    pub(crate) address: &'a Address,
    /// What people are warned of, if it is more than time.
    pub(crate) warning: Option<&'static str>,
    /// What it is.
    pub(crate) text: String,
}

impl Symbol {
    /// Returns the character.
    pub(crate) fn character(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Update => "~",
            Self::Delete => "-",
            Self::Restart => "↻",
        }
    }

    /// Returns the colour behind it in pictures: dark text stays readable on each.
    pub(crate) fn fill(self) -> &'static str {
        match self {
            Self::Create => "#c6efce",
            Self::Update => "#ffeb9c",
            Self::Delete => "#ffc7ce",
            Self::Restart => "#cfe2f3",
        }
    }

    /// Returns the word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "change",
            Self::Delete => "remove",
            Self::Restart => "restart",
        }
    }
}

/// Returns how a plan marks what it changes, in a picture.
pub(crate) fn marks(registry: &Registry<LinuxHost>, plan: &Plan) -> NodeStyles {
    let changes = changes(registry, plan).into_iter();
    let marked = changes.map(|shown| {
        let mark = NodeStyle {
            symbol: shown.symbol.character(),
            fill: shown.symbol.fill(),
        };
        (shown.planned.address.clone(), mark)
    });
    marked.collect()
}

/// Returns what a plan shows of its changes, in apply order.
pub(crate) fn changes<'a>(registry: &Registry<LinuxHost>, plan: &'a Plan) -> Vec<ChangeView<'a>> {
    let no_return = plan.point_of_no_return();
    let changes = plan.changes.iter().enumerate();
    let known = changes.filter_map(|(place, planned)| {
        let kind = registry.provider_of(&planned.address).ok()?;
        let symbol = match &planned.change {
            _ if kind.schema().lifecycle.is_restart => Symbol::Restart,
            Change::Create { .. } => Symbol::Create,
            Change::Update { .. } => Symbol::Update,
            Change::Delete { .. } => Symbol::Delete,
        };
        Some(ChangeView {
            planned,
            symbol,
            attributes: changed_attributes(&kind.schema(), &planned.change),
            is_point_of_no_return: no_return == Some(place),
        })
    });
    known.collect()
}

fn changed_attributes<'a>(schema: &Schema, change: &'a Change<State>) -> Vec<AttributeChange<'a>> {
    let folded: Vec<(&str, Side<'a>, Side<'a>)> = match change {
        Change::Create { after } => present_attributes(schema, after)
            .map(|(name, new)| (name, None, Some(new)))
            .collect(),
        Change::Update { before, after } => merge::differences(schema, before, after)
            .map(|name| (name, Some(&before[name]), Some(&after[name])))
            .collect(),
        Change::Delete { before } => present_attributes(schema, before)
            .map(|(name, old)| (name, Some(old), None))
            .collect(),
    };
    folded.into_iter().flat_map(expand_map).collect()
}

fn present_attributes<'a>(
    schema: &Schema,
    state: &'a State,
) -> impl Iterator<Item = (&'static str, &'a Value)> {
    schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_compared())
        .map(|attribute| (attribute.name, &state[attribute.name]))
        .filter(|(_, value)| !is_empty_value(value))
}

/// Whether a value says that something is not there, which goes without saying for what comes or goes.
fn is_empty_value(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.get("unset").is_some()
}

/// Unfolds a map into those of its keys that differ.
pub(crate) fn expand_map<'a>(
    (name, old, new): (&'a str, Side<'a>, Side<'a>),
) -> Vec<AttributeChange<'a>> {
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
        .map(|key| (escape_control(key), get(old, key), get(new, key)))
        .filter(|(_, old, new)| old != new)
        .collect()
}

/// Puts a difference into words.
pub(crate) fn attribute_diff(old: Side<'_>, new: Side<'_>, detail: Detail) -> AttributeDiff {
    if let (Some(one), Some(other)) = (as_text(old), as_text(new))
        && (one.contains('\n') || other.contains('\n'))
    {
        return AttributeDiff::Multiline(unified_diff(one, other, detail));
    }
    AttributeDiff::Inline {
        old: old.map(format_value),
        new: new.map(format_value),
    }
}

/// Returns a side as a text; nothing is an empty one.
fn as_text(side: Side<'_>) -> Option<&str> {
    match side {
        Some(side) if side.get("unset").is_none() => side.as_str(),
        _ => Some(""),
    }
}

fn unified_diff(old: &str, new: &str, detail: Detail) -> UnifiedDiff {
    let diff = TextDiff::from_lines(old, new);
    let unified = diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .to_string();
    // Not `lines`: that a line ends otherwise may be all that differs.
    let lines = unified.split_terminator('\n');
    let most = match detail {
        Detail::Folded => MAX_DIFF_LINES,
        Detail::Whole => usize::MAX,
    };
    UnifiedDiff {
        omitted: lines.clone().count().saturating_sub(most),
        lines: lines.take(most).map(escape_control).collect(),
    }
}

/// Says why a change is wanted, and why it is due although a run had reached it.
pub(crate) fn explanation(planned: &PlannedChange) -> String {
    let because = reason_text(&planned.reason);
    match &planned.cause {
        Some(cause) => format!("{because}; {}", cause_text(cause)),
        None => because,
    }
}

fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Spec { run, is_new: true } => format!("run {run} did not ask for it yet"),
        Cause::Spec { run, .. } => format!("run {run} asked for something else"),
        Cause::DependencyChanged { address } => format!("required by the change of {address}"),
        Cause::Reboot { run } => format!("lost at a reboot since run {run}"),
        Cause::Actor {
            run,
            actor,
            evidence,
        } => format!("changed by {actor} since run {run} ({evidence})"),
        Cause::Manual {
            run,
            person,
            evidence,
        } => format!("changed by hand by {person} since run {run} ({evidence})"),
        Cause::Modified { run, evidence } => format!("changed since run {run} ({evidence})"),
        Cause::Unknown { run } => format!("changed since run {run}, cause unknown"),
    }
}

fn reason_text(because: &Reason) -> String {
    match because {
        Reason::Spec { file, line } => format!("from {}:{line}", file.display()),
        Reason::Implied { by, file, line } => {
            format!("added by {by} ({}:{line})", file.display())
        }
        Reason::Undo { run } => format!("undo of run {run}"),
    }
}

/// Returns what a plan costs, in apply order.
pub(crate) fn costs(plan: &Plan) -> Vec<Cost<'_>> {
    plan.changes.iter().flat_map(change_costs).collect()
}

/// Returns what one change costs.
pub(crate) fn change_costs(planned: &PlannedChange) -> Vec<Cost<'_>> {
    let PlannedChange {
        address, effects, ..
    } = planned;
    let mut costs = vec![];
    let mut add = |warning, text: String| {
        costs.push(Cost {
            address,
            warning,
            text,
        });
    };
    if effects.download > 0 {
        add(
            None,
            format!("downloads {}", format_bytes(effects.download)),
        );
    }
    for service in &effects.restarts {
        let outage = Duration::from_millis(effects.outage).as_secs();
        add(
            None,
            format!("restarts {service} (about {outage} s without it)"),
        );
    }
    let warnings = [
        ("may cut the network", &effects.may_cut_network),
        ("undo will keep", &effects.leaves),
        ("cannot be undone", &effects.irreversible),
    ];
    for (warning, what) in warnings {
        if let Some(what) = what {
            add(Some(warning), what.clone());
        }
    }
    costs
}

/// Counts what a plan does, in one line.
pub(crate) fn summary(plan: &Plan) -> String {
    let summary = &plan.summary;
    let mut parts = counts(&[
        (summary.create, "to create"),
        (summary.change, "to change"),
        (summary.remove, "to remove"),
    ]);
    parts.extend(restarts(summary.restarts));
    if summary.download > 0 {
        parts.push(format!("{} to download", format_bytes(summary.download)));
    }
    if parts.is_empty() {
        return "Plan: no changes.".to_owned();
    }
    format!("Plan: {}.", parts.join(", "))
}

/// Returns the counts that are not zero, each with what it counts.
pub(crate) fn counts(counts: &[(usize, &str)]) -> Vec<String> {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
}

/// Counts restarts, if there are any.
pub(crate) fn restarts(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 restart".to_owned()),
        count => Some(format!("{count} restarts")),
    }
}

#[cfg(test)]
mod tests {
    use stead_engine::model::address::Address;

    use super::*;

    #[test]
    fn cause_text_is_one_sentence_per_cause() {
        let check = |cause: Cause, expected: &str| assert_eq!(cause_text(&cause), expected);
        let (run, is_new) = (3, false);
        let evidence = || "seen".to_owned();
        check(
            Cause::Spec { run, is_new },
            "run 3 asked for something else",
        );
        let is_new = true;
        check(Cause::Spec { run, is_new }, "run 3 did not ask for it yet");
        let address = Address::new("kube-args", "kubelet");
        let due = "required by the change of kube-args:kubelet";
        check(Cause::DependencyChanged { address }, due);
        check(Cause::Reboot { run }, "lost at a reboot since run 3");
        let docker = Cause::Actor {
            run,
            actor: "Docker".to_owned(),
            evidence: evidence(),
        };
        check(docker, "changed by Docker since run 3 (seen)");
        let hand = Cause::Manual {
            run,
            person: "alice".to_owned(),
            evidence: evidence(),
        };
        check(hand, "changed by hand by alice since run 3 (seen)");
        let changed = Cause::Modified {
            run,
            evidence: evidence(),
        };
        check(changed, "changed since run 3 (seen)");
        let unknown = "changed since run 3, cause unknown";
        check(Cause::Unknown { run }, unknown);
    }
}
