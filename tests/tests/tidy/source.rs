//! Source files as syntax trees, without what is compiled for tests alone.

use std::{collections::BTreeMap, fs, path::Path};

use syn::{Attribute, Item, Visibility};

/// The crates whose structure is held.
pub(crate) const CRATES: [&str; 3] = ["engine", "resources", "cli"];

/// The `src` of a crate: its files by their paths in it.
pub(crate) struct Tree {
    pub(crate) name: &'static str,
    pub(crate) files: BTreeMap<String, syn::File>,
}

impl Tree {
    /// Reads and parses all files of a crate.
    pub(crate) fn read(workspace: &Path, name: &'static str) -> Self {
        let dir = format!("crates/{name}/src");
        let mut paths = Vec::new();
        rust_files(workspace, &dir, &mut paths);
        let files = paths.into_iter().map(|path| {
            let text = fs::read_to_string(workspace.join(&path)).unwrap();
            let mut source =
                syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            source.items.retain(|item| !is_for_tests(attributes(item)));
            let inside = path[dir.len() + 1..].to_owned();
            (inside, source)
        });
        let mut files: BTreeMap<String, syn::File> = files.collect();
        let tested: Vec<Vec<String>> = files
            .keys()
            .filter(|file| is_declared_for_tests(workspace, name, file))
            .map(|file| module(file))
            .collect();
        files.retain(|file, _| !tested.iter().any(|path| module(file).starts_with(path)));
        Self { name, files }
    }

    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.files.keys().any(|file| self::room(file) == room)
    }
}

/// Returns the room of a file: the directory below `src`, or its own name.
pub(crate) fn room(file: &str) -> &str {
    file.split_once('/')
        .map_or(file.trim_end_matches(".rs"), |(room, _)| room)
}

/// Whether a file is the root of the crate, which names all rooms.
pub(crate) fn is_root(file: &str) -> bool {
    file == "lib.rs" || file == "main.rs"
}

/// Returns the path of the module that a file is.
pub(crate) fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(
        segments.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        segments.pop();
    }
    segments
}

/// Whether the `mod` line of a file stands under `#[cfg(test)]`.
fn is_declared_for_tests(workspace: &Path, name: &str, file: &str) -> bool {
    let path = module(file);
    let Some((last, parent)) = path.split_last() else {
        return false;
    };
    let src = workspace.join(format!("crates/{name}/src"));
    let dir = parent.iter().fold(src, |dir, segment| dir.join(segment));
    let candidates = ["mod.rs", "lib.rs", "main.rs"].map(|file| dir.join(file));
    let beside = dir.with_extension("rs");
    candidates
        .iter()
        .chain([&beside])
        .filter(|path| path.is_file())
        .any(|path| {
            let source = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
            source.items.iter().any(|item| match item {
                Item::Mod(module) => module.ident == last && is_for_tests(&module.attrs),
                _ => false,
            })
        })
}

/// Returns the source files of the workspace. Files of nothing but tests have no lines before them.
pub(crate) fn all_files(workspace: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for dir in [
        "crates/engine/src",
        "crates/resources/src",
        "crates/cli/src",
        "tests/src",
    ] {
        rust_files(workspace, dir, &mut files);
    }
    assert!(files.len() > 300, "only {} files were found", files.len());
    files
}

fn rust_files(workspace: &Path, dir: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(workspace.join(dir)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            rust_files(workspace, &path, files);
        } else if Path::new(&path)
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            files.push(path);
        }
    }
    files.sort();
}

/// Counts the lines before the module of unit tests.
pub(crate) fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.iter().rposition(|line| *line == "mod tests {");
    let Some(tests) = tests else {
        return lines.len();
    };
    let attribute = lines[..tests]
        .iter()
        .rposition(|line| *line == "#[cfg(test)]");
    attribute.unwrap_or(tests)
}

/// Returns the names of the types that a file makes public.
pub(crate) fn public_types(source: &syn::File) -> Vec<String> {
    let public = |visibility: &Visibility| matches!(visibility, Visibility::Public(_));
    let types = source.items.iter().filter_map(|item| match item {
        Item::Struct(item) if public(&item.vis) => Some(&item.ident),
        Item::Enum(item) if public(&item.vis) => Some(&item.ident),
        Item::Trait(item) if public(&item.vis) => Some(&item.ident),
        Item::Type(item) if public(&item.vis) => Some(&item.ident),
        Item::Union(item) if public(&item.vis) => Some(&item.ident),
        _ => None,
    });
    types.map(ToString::to_string).collect()
}

/// Whether attributes say `#[cfg(test)]`.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
