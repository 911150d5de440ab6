//! A plan as a Code Quality report of GitLab: each change at the line of the spec that it comes from.

use std::path::{Path, PathBuf};

use serde::Serialize;
use stead_engine::{
    language::editor::normal,
    model::digest::digest,
    plan::document::{Because, Plan},
    provider::registry::Registry,
};
use stead_resources::host::Live;

use crate::render::{
    format::{one_line, shortened},
    plan_view::{self, Detail, Shown, Words},
};

/// The characters of a description that are shown.
const WIDTH: usize = 1_000;

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

/// Shows a plan. Paths below `folder` are told from there, because GitLab knows no others.
pub(crate) fn gitlab(registry: &Registry<Live>, plan: &Plan, spec: &Path, folder: &Path) -> String {
    let changes = plan_view::changes(registry, plan);
    let entries: Vec<_> = changes
        .iter()
        .map(|shown| {
            let (file, line) = place(shown, spec);
            let address = &shown.planned.address;
            Entry {
                description: description(shown),
                check_name: format!("stead-{}", shown.symbol.word()),
                // One pipeline may plan several hosts.
                fingerprint: digest(&(&plan.host, address)),
                severity: severity(shown),
                location: Location {
                    path: from_folder(file, folder),
                    lines: Lines { begin: line },
                },
            }
        })
        .collect();
    serde_json::to_string_pretty(&entries).expect("entries have string keys") + "\n"
}

fn place<'a>(shown: &'a Shown<'_>, spec: &'a Path) -> (&'a Path, usize) {
    match &shown.planned.because {
        Because::Spec { file, line } | Because::Implied { file, line, .. } => (file, *line),
        Because::Undo { .. } => (spec, 1),
    }
}

fn severity(shown: &Shown<'_>) -> Severity {
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

fn description(shown: &Shown<'_>) -> String {
    let address = &shown.planned.address;
    let mut parts: Vec<String> = plan_view::costs_of(shown.planned)
        .into_iter()
        .map(|cost| match cost.warning {
            Some(warning) => format!("{warning}: {}", cost.text),
            None => cost.text,
        })
        .collect();
    parts.extend(shown.attributes.iter().map(|(name, old, new)| {
        match plan_view::words(*old, *new, Detail::Folded) {
            Words::Line {
                old: Some(old),
                new: Some(new),
            } => format!("{name} {old} → {new}"),
            Words::Line { old, new } => format!("{name} {}", old.or(new).unwrap_or_default()),
            Words::Text(_) => format!("{name} (a text)"),
        }
    }));
    let text = format!("{} {address}: {}", shown.symbol.word(), parts.join("; "));
    shortened(&one_line(&text), WIDTH)
}

/// Tells a path from a folder if it is below it, else as it is. Nothing is looked up.
fn from_folder(path: &Path, folder: &Path) -> PathBuf {
    let whole = normal(&folder.join(path));
    match whole.strip_prefix(folder) {
        Ok(below) => below.to_owned(),
        Err(_) => whole,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{super::hostile_fixture, *};

    fn shown(plan: &Plan) -> String {
        let (spec, folder) = (Path::new("host.kdl"), Path::new("/builds/hosts"));
        gitlab(&stead_resources::registry(), plan, spec, folder)
    }

    #[test]
    fn a_hostile_plan_is_a_report() {
        insta::assert_snapshot!(shown(&hostile_fixture::plan()));
    }

    #[test]
    fn a_plan_without_changes_is_an_empty_report() {
        assert_eq!(shown(&hostile_fixture::empty()), "[]\n");
    }

    #[test]
    fn every_entry_has_what_gitlab_asks_for_and_a_fingerprint_of_its_own() {
        let report = shown(&hostile_fixture::plan());
        assert_eq!(report, shown(&hostile_fixture::plan()));
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
    fn another_state_has_the_same_fingerprint_and_another_host_has_not() {
        let fingerprints = |plan: &Plan| -> Vec<Value> {
            let report: Vec<Value> = serde_json::from_str(&shown(plan)).unwrap();
            report
                .iter()
                .map(|entry| entry["fingerprint"].clone())
                .collect()
        };
        let plan = hostile_fixture::plan();
        let mut moved = plan.clone();
        for planned in &mut moved.changes {
            planned.because = Because::Undo { run: 1 };
            planned.change = stead_engine::model::change::Change::Delete {
                before: Value::Null,
            };
        }
        assert_eq!(fingerprints(&plan), fingerprints(&moved));
        moved.host = "other".to_owned();
        assert!(fingerprints(&plan)[0] != fingerprints(&moved)[0]);
    }

    #[test]
    fn paths_are_told_from_the_folder() {
        let check = |path: &str, expected: &str| {
            let told = from_folder(Path::new(path), Path::new("/builds/hosts"));
            assert_eq!(told, Path::new(expected), "{path}");
        };
        check("host.kdl", "host.kdl");
        check("./host.kdl", "host.kdl");
        check("vm/../common.kdl", "common.kdl");
        check("/builds/hosts/vm/host.kdl", "vm/host.kdl");
        check("../other.kdl", "/builds/other.kdl");
        check("/etc/stead/host.kdl", "/etc/stead/host.kdl");
    }
}
