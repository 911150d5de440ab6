//! Imports between the files of a crate: what `use` names, and what a path names where it is used.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

use crate::source::{Tree, is_for_tests, module};

/// One file uses something of another.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    names: BTreeSet<String>,
}

impl Import {
    /// Returns what is used, in words.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        names.join(", ")
    }
}

type Path = Vec<String>;

/// What a file names.
#[derive(Default)]
struct UsedNames {
    /// Paths of `use`, and the name that each has in the file.
    uses: Vec<(Path, String)>,
    /// Those of them that others may take from here.
    exports: Vec<(Path, String)>,
    /// Paths in code.
    paths: Vec<Path>,
}

impl<'ast> Visit<'ast> for UsedNames {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_for_tests(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        flatten_use(&item.tree, &mut Vec::new(), &mut found);
        if !matches!(item.vis, Visibility::Inherited) {
            self.exports.extend(found.iter().cloned());
        }
        self.uses.extend(found);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.collect_paths(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }
}

impl UsedNames {
    /// Takes the paths out of what only a macro can parse.
    fn collect_paths(&mut self, tokens: TokenStream) {
        let mut path: Path = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.paths.push(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.paths.push(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.collect_paths(group.stream());
                    }
                }
            }
        }
        self.paths.push(path);
    }
}

fn flatten_use(tree: &UseTree, path: &mut Path, found: &mut Vec<(Path, String)>) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            flatten_use(&inner.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) => {
            let mut whole = path.clone();
            if name.ident != "self" {
                whole.push(name.ident.to_string());
            }
            let last = whole.last().cloned().unwrap_or_default();
            found.push((whole, last));
        }
        UseTree::Rename(name) => {
            let mut whole = path.clone();
            if name.ident != "self" {
                whole.push(name.ident.to_string());
            }
            found.push((whole, name.rename.to_string()));
        }
        UseTree::Glob(_) => found.push((path.clone(), "*".to_owned())),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten_use(tree, path, found);
            }
        }
    }
}

/// The modules of a crate, and what each hands on.
struct Modules<'a> {
    files: BTreeMap<Path, &'a str>,
    exports: BTreeMap<Path, Vec<(Path, String)>>,
}

impl Modules<'_> {
    /// Follows a path from a module. Returns the module that defines what it names, and the rest of the path.
    fn resolve(&self, base: &[String], path: &[String]) -> Option<(Path, Path)> {
        let mut here = base.to_vec();
        let mut rest = path.to_vec();
        match rest.first()?.as_str() {
            "crate" => {
                here.clear();
                rest.remove(0);
            }
            "self" => drop(rest.remove(0)),
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    here.pop()?;
                    rest.remove(0);
                }
            }
            child => {
                let mut inside = here.clone();
                inside.push(child.to_owned());
                if !self.files.contains_key(&inside) {
                    return None;
                }
            }
        }
        for _ in 0..16 {
            let mut inside = here.clone();
            let Some(next) = rest.first() else { break };
            inside.push(next.clone());
            if self.files.contains_key(&inside) {
                here = inside;
                rest.remove(0);
                continue;
            }
            let exports = self.exports.get(&here).map_or(&[][..], Vec::as_slice);
            let Some((target, _)) = exports.iter().find(|(_, name)| name == next) else {
                break;
            };
            let mut target = target.clone();
            target.extend(rest.drain(..).skip(1));
            return self
                .resolve(&here.clone(), &target)
                .or(Some((here, target)));
        }
        Some((here, rest))
    }
}

/// Returns all imports between the files of a crate.
pub(crate) fn imports_of(tree: &Tree) -> Vec<Import> {
    let named: BTreeMap<&str, UsedNames> = tree
        .files
        .iter()
        .map(|(file, source)| {
            let mut named = UsedNames::default();
            named.visit_file(source);
            (file.as_str(), named)
        })
        .collect();
    let modules = Modules {
        files: tree
            .files
            .keys()
            .map(|file| (module(file), file.as_str()))
            .collect(),
        exports: named
            .iter()
            .map(|(file, named)| (module(file), named.exports.clone()))
            .collect(),
    };
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (file, named) in &named {
        let base = module(file);
        let exports: BTreeSet<&String> = named.exports.iter().map(|(_, name)| name).collect();
        let mut note = |path: &[String]| {
            if let Some((target, rest)) = modules.resolve(&base, path)
                && let Some(to) = modules.files.get(&target)
                && to != file
            {
                let name = rest
                    .first()
                    .map_or_else(|| "the module".to_owned(), Clone::clone);
                found
                    .entry(((*file).to_owned(), (*to).to_owned()))
                    .or_default()
                    .insert(name);
            }
        };
        // What a module hands on is no use of its own. What is used of an imported module is told by the paths below.
        for (path, name) in &named.uses {
            let is_module = modules
                .resolve(&base, path)
                .is_some_and(|(_, rest)| rest.is_empty());
            if !exports.contains(name) && (!is_module || name == "*") {
                note(path);
            }
        }
        for path in &named.paths {
            let used = path
                .first()
                .and_then(|first| named.uses.iter().find(|(_, name)| name == first));
            match used {
                // A module that was imported, and what is named in it.
                Some((imported, _)) if path.len() > 1 => {
                    let mut whole = imported.clone();
                    whole.extend(path.iter().skip(1).cloned());
                    note(&whole);
                }
                None if path.len() > 1 => note(path),
                _ => {}
            }
        }
    }
    found
        .into_iter()
        .map(|((from, to), names)| Import { from, to, names })
        .collect()
}
