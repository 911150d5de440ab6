//! A plan as a Code Quality report of GitLab: each change at the line of the spec that it comes from.

use std::path::{Path, PathBuf};

use serde::Serialize;
use stead_engine::{
    language::editor::normalize,
    model::digest::digest,
    plan::document::{Plan, Reason},
    provider::registry::Registry,
};
use stead_resources::host::LinuxHost;

use crate::render::{
    format::{one_line, truncate},
    plan_view::{self, AttributeDiff, ChangeView, Detail},
};

/// The characters of a description that are shown.
const MAX_DESCRIPTION: usize = 1_000;

/// One entry of the report, as <https://docs.gitlab.com/ci/testing/code_quality/> has it.
#[derive(Serialize)]
struct Entry {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: Severity,
    location: Location,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Info,
    Minor,
    Major,
    Critical,
}

#[derive(Serialize)]
struct Location {
    path: PathBuf,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

/// Shows a plan. Paths below `directory` are actual from there, because GitLab knows no others.
pub(crate) fn gitlab(
    registry: &Registry<LinuxHost>,
    plan: &Plan,
    spec: &Path,
    dir: &Path,
) -> String {
    let changes = plan_view::changes(registry, plan);
    let entries: Vec<_> = changes
        .iter()
        .map(|shown| {
            let (file, line) = source_location(shown, spec);
            let address = &shown.planned.address;
            Entry {
                description: description(shown),
                check_name: format!("stead-{}", shown.symbol.word()),
                // One pipeline may plan several hosts.
                fingerprint: digest(&(&plan.host, address)),
                severity: severity(shown),
                location: Location {
                    path: relative_path(file, dir),
                    lines: Lines { begin: line },
                },
            }
        })
        .collect();
    serde_json::to_string_pretty(&entries).expect("entries have string keys") + "\n"
}

fn source_location<'a>(shown: &'a ChangeView<'_>, spec: &'a Path) -> (&'a Path, usize) {
    match &shown.planned.reason {
        Reason::Spec { file, line } | Reason::Implied { file, line, .. } => (file, *line),
        Reason::Undo { .. } => (spec, 1),
    }
}

fn severity(shown: &ChangeView<'_>) -> Severity {
    let effects = &shown.planned.effects;
    if effects.irreversible.is_some() {
        Severity::Critical
    } else if effects.may_cut_network.is_some() {
        Severity::Major
    } else if !effects.restarts.is_empty() {
        Severity::Minor
    } else {
        Severity::Info
    }
}

fn description(shown: &ChangeView<'_>) -> String {
    let address = &shown.planned.address;
    let mut parts: Vec<String> = plan_view::change_costs(shown.planned)
        .into_iter()
        .map(|cost| match cost.warning {
            Some(warning) => format!("{warning}: {}", cost.text),
            None => cost.text,
        })
        .collect();
    parts.extend(shown.attributes.iter().map(|(name, old, new)| {
        match plan_view::attribute_diff(*old, *new, Detail::Folded) {
            AttributeDiff::Inline {
                old: Some(old),
                new: Some(new),
            } => format!("{name} {old} → {new}"),
            AttributeDiff::Inline { old, new } => {
                format!("{name} {}", old.or(new).unwrap_or_default())
            }
            AttributeDiff::Multiline(_) => format!("{name} (a text)"),
        }
    }));
    let text = format!("{} {address}: {}", shown.symbol.word(), parts.join("; "));
    truncate(&one_line(&text), MAX_DESCRIPTION)
}

/// Tells a path from a directory if it is below it, else as it is. Nothing is looked up.
fn relative_path(path: &Path, dir: &Path) -> PathBuf {
    let whole = normalize(&dir.join(path));
    match whole.strip_prefix(dir) {
        Ok(below) => below.to_owned(),
        Err(_) => whole,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{super::hostile_fixture, *};

    fn render_plan(plan: &Plan) -> String {
        let (spec, directory) = (Path::new("host.kdl"), Path::new("/builds/hosts"));
        gitlab(&stead_resources::registry(), plan, spec, directory)
    }

    #[test]
    fn gitlab_escapes_hostile_text() {
        insta::assert_snapshot!(render_plan(&hostile_fixture::plan()));
    }

    #[test]
    fn gitlab_report_is_empty_without_changes() {
        assert_eq!(render_plan(&hostile_fixture::empty()), "[]\n");
    }

    #[test]
    fn gitlab_entries_have_required_fields_and_unique_fingerprint() {
        let report = render_plan(&hostile_fixture::plan());
        assert_eq!(report, render_plan(&hostile_fixture::plan()));
        let report: Vec<Value> = serde_json::from_str(&report).unwrap();
        assert_eq!(report.len(), hostile_fixture::plan().changes.len());
        let mut fingerprints = BTreeSet::new();
        for entry in &report {
            let text = |name: &str| entry[name].as_str().unwrap();
            assert!(!text("description").contains('\n') && !text("check_name").is_empty());
            assert!(["info", "minor", "major", "critical"].contains(&text("severity")));
            assert!(
                entry["location"]["path"]
                    .as_str()
                    .unwrap()
                    .starts_with("hosts/")
            );
            assert!(entry["location"]["lines"]["begin"].as_u64().unwrap() > 0);
            assert!(fingerprints.insert(text("fingerprint").to_owned()));
        }
    }

    #[test]
    fn fingerprint_depends_on_host_but_not_on_change() {
        let fingerprints = |plan: &Plan| -> Vec<Value> {
            let report: Vec<Value> = serde_json::from_str(&render_plan(plan)).unwrap();
            report
                .iter()
                .map(|entry| entry["fingerprint"].clone())
                .collect()
        };
        let plan = hostile_fixture::plan();
        let mut moved = plan.clone();
        for planned in &mut moved.changes {
            planned.reason = Reason::Undo { run: 1 };
            planned.change = stead_engine::model::change::Change::Delete {
                before: Value::Null,
            };
        }
        assert_eq!(fingerprints(&plan), fingerprints(&moved));
        moved.host = "other".to_owned();
        assert!(fingerprints(&plan)[0] != fingerprints(&moved)[0]);
    }

    #[test]
    fn report_paths_are_relative_to_the_directory() {
        let check = |path: &str, expected: &str| {
            let actual = relative_path(Path::new(path), Path::new("/builds/hosts"));
            assert_eq!(actual, Path::new(expected), "{path}");
        };
        check("host.kdl", "host.kdl");
        check("./host.kdl", "host.kdl");
        check("vm/../common.kdl", "common.kdl");
        check("/builds/hosts/vm/host.kdl", "vm/host.kdl");
        check("../other.kdl", "/builds/other.kdl");
        check("/etc/stead/host.kdl", "/etc/stead/host.kdl");
    }
}
