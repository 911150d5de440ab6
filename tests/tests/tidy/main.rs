//! The structure of the source tree: rooms, imports, lengths of files and names of types, as ARCHITECTURE.md has them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads the sources and stops at the first surprise"
)]

mod imports;
mod rooms;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

use crate::{
    imports::{Import, imports_of},
    rooms::{Room, rooms},
    source::{CRATES, Tree, is_root, room},
};

/// How many lines a file may have before its tests.
const MAX_LINES: usize = 500;

/// What breaks a rule and is tolerated until it is fixed. It may only shrink.
const EXCEPTIONS: &[&str] = &[];

/// Returns the directory of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails with every complaint that is no exception, and with every exception that is no longer needed.
fn assert_no_violations(rule: &str, complaints: &BTreeSet<String>) {
    let mut text = String::new();
    for complaint in complaints {
        if !EXCEPTIONS.contains(&format!("{rule}: {complaint}").as_str()) {
            writeln!(text, "{complaint}").unwrap();
        }
    }
    for exception in EXCEPTIONS {
        let complaint = exception.strip_prefix(&format!("{rule}: "));
        if complaint.is_some_and(|complaint| !complaints.contains(complaint)) {
            writeln!(text, "no exception is needed any more: {exception}").unwrap();
        }
    }
    assert!(text.is_empty(), "{rule}:\n{text}");
}

/// Returns the groups of nodes that import each other.
fn cycles<'a>(arrows: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<String> {
    let graph: DiGraphMap<&str, ()> = arrows
        .into_iter()
        .map(|(from, to)| (from, to, ()))
        .collect();
    tarjan_scc(&graph)
        .into_iter()
        .filter(|group| group.len() > 1)
        .map(|mut group| {
            group.sort_unstable();
            group.join(", ")
        })
        .collect()
}

fn for_each_tree(mut check_tree: impl FnMut(&Tree, &[Import])) {
    for name in CRATES {
        let tree = Tree::read(&workspace(), name);
        let arrows = imports_of(&tree);
        assert!(!arrows.is_empty(), "{name} imports nothing of its own");
        check_tree(&tree, &arrows);
    }
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let architecture = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let mut complaints = BTreeSet::new();
    for_each_tree(|tree, arrows| {
        let rooms = rooms(&architecture, tree.name);
        let by_name: BTreeMap<&str, &Room> = rooms
            .iter()
            .map(|room| (room.name.as_str(), room))
            .collect();
        for arrow in arrows {
            let (from, to) = (room(&arrow.from), room(&arrow.to));
            if from == to || is_root(&arrow.from) {
                continue;
            }
            match by_name.get(from) {
                None => {
                    complaints.insert(format!("{}: the table has no room {from}", tree.name));
                }
                Some(room) if !room.may_import(to) => {
                    complaints.insert(format!(
                        "{}: {} imports {} of {}, and {from} may not import {to}",
                        tree.name,
                        arrow.from,
                        arrow.names(),
                        arrow.to
                    ));
                }
                Some(_) => {}
            }
        }
        for room in &rooms {
            if !tree.has_room(&room.name) {
                complaints.insert(format!("{}: there is no room {}", tree.name, room.name));
            }
        }
    });
    assert_no_violations("rooms", &complaints);
}

#[test]
fn table_of_rooms_has_no_cycle() {
    let architecture = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let mut complaints = BTreeSet::new();
    for name in CRATES {
        let rooms = rooms(&architecture, name);
        let arrows = rooms.iter().flat_map(|room| {
            let others = rooms.iter().filter(|other| room.may_import(&other.name));
            others.map(|other| (room.name.as_str(), other.name.as_str()))
        });
        complaints.extend(cycles(arrows.filter(|(from, to)| from != to)));
    }
    assert_no_violations("cycle of rooms", &complaints);
}

#[test]
fn files_have_no_cycle_of_imports() {
    let mut complaints = BTreeSet::new();
    for_each_tree(|tree, arrows| {
        let arrows = arrows
            .iter()
            .map(|arrow| (arrow.from.as_str(), arrow.to.as_str()));
        let found = cycles(arrows);
        complaints.extend(found.iter().map(|cycle| format!("{}: {cycle}", tree.name)));
    });
    assert_no_violations("cycle of files", &complaints);
}

#[test]
fn mod_files_define_nothing_that_their_children_use() {
    let mut complaints = BTreeSet::new();
    for_each_tree(|tree, arrows| {
        for arrow in arrows {
            let dir = arrow.to.strip_suffix("mod.rs");
            if dir.is_some_and(|dir| arrow.from.starts_with(dir)) {
                complaints.insert(format!(
                    "{}: {} uses {} of {}",
                    tree.name,
                    arrow.from,
                    arrow.names(),
                    arrow.to
                ));
            }
        }
    });
    assert_no_violations("definitions in mod.rs", &complaints);
}

#[test]
fn kinds_import_no_other_kind() {
    let tree = Tree::read(&workspace(), "resources");
    let kind = |file: &str| {
        let inside = file.strip_prefix("kinds/")?;
        let name = inside.split_once('/').map_or(inside, |(dir, _)| dir);
        (name != "mod.rs").then(|| name.trim_end_matches(".rs").to_owned())
    };
    let mut complaints = BTreeSet::new();
    for arrow in imports_of(&tree) {
        let (from, to) = (kind(&arrow.from), kind(&arrow.to));
        if from.is_some() && to.is_some() && from != to {
            complaints.insert(format!(
                "{} imports {} of {}",
                arrow.from,
                arrow.names(),
                arrow.to
            ));
        }
    }
    assert_no_violations("kinds", &complaints);
}

#[test]
fn files_are_short() {
    let mut complaints = BTreeSet::new();
    for file in source::all_files(&workspace()) {
        let text = std::fs::read_to_string(workspace().join(&file)).unwrap();
        let lines = source::lines_before_tests(&text);
        if lines > MAX_LINES {
            complaints.insert(format!(
                "{file} has more than {MAX_LINES} lines before its tests"
            ));
        }
    }
    assert_no_violations("length", &complaints);
}

#[test]
fn public_type_names_are_unique() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in CRATES {
        let tree = Tree::read(&workspace(), name);
        for (file, source) in &tree.files {
            for type_name in source::public_types(source) {
                let place = format!("{name}/{file}");
                places.entry(type_name).or_default().insert(place);
            }
        }
    }
    let complaints = places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| {
            let places: Vec<String> = places.into_iter().collect();
            format!("{name}: {}", places.join(", "))
        })
        .collect();
    assert_no_violations("names of types", &complaints);
}
