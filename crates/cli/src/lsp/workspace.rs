//! Which files belong to a spec, and to which spec a file belongs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use stead_engine::{
    language::editor::{Names, Outline, Part, names, normal, outline},
    provider::registry::Registry,
};
use stead_resources::host::Live;

use super::documents::Documents;

/// What a spec is called by default, with or without a `host` in it yet.
const USUAL: &str = "host.kdl";
/// The most files of a spec that are looked at for names.
const FILES: usize = 1_000;
/// The most files of a folder that are looked at for a spec.
const CANDIDATES: usize = 64;

/// Files as they are at one moment, each read once.
pub(crate) struct Specs<'a> {
    documents: &'a Documents,
    registry: &'a Registry<Live>,
    files: BTreeMap<PathBuf, Option<Rc<File>>>,
}

/// One file.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) outline: Outline,
    pub(crate) names: Names,
}

impl File {
    /// Whether it is a spec, and not a part of one.
    pub(crate) fn is_spec(&self) -> bool {
        self.names.has_host || self.path.file_name().is_some_and(|name| name == USUAL)
    }

    /// Returns the path of a file that it includes.
    pub(crate) fn include(&self, written: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        normal(&folder.join(written))
    }
}

impl<'a> Specs<'a> {
    pub(crate) fn new(documents: &'a Documents, registry: &'a Registry<Live>) -> Self {
        Self {
            documents,
            registry,
            files: BTreeMap::new(),
        }
    }

    /// Returns a file; `None` if it cannot be read.
    pub(crate) fn file(&mut self, path: &Path) -> Option<Rc<File>> {
        let path = normal(path);
        if let Some(file) = self.files.get(&path) {
            return file.clone();
        }
        let bytes = self.documents.read(&path).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let file = text.map(|text| {
            let outline = outline(&text);
            let names = names(&text, &outline, &|kind| self.registry.get(kind).is_some());
            Rc::new(File {
                path: path.clone(),
                text,
                outline,
                names,
            })
        });
        self.files.insert(path, file.clone());
        file
    }

    /// Returns a file and all that it includes, that one first.
    pub(crate) fn with_included(&mut self, path: &Path) -> Vec<Rc<File>> {
        let mut seen = BTreeSet::from([normal(path)]);
        let mut files: Vec<Rc<File>> = self.file(path).into_iter().collect();
        let mut next = 0;
        while let Some(file) = files.get(next).cloned() {
            next += 1;
            for include in &file.names.includes {
                let path = file.include(include);
                if files.len() < FILES && seen.insert(path.clone()) {
                    files.extend(self.file(&path));
                }
            }
        }
        files
    }

    /// Returns the spec that a file belongs to: itself if it has a `host`; else one that is open and includes it; else one beside it
    /// or in the folder above.
    pub(crate) fn spec_of(&mut self, path: &Path) -> Option<PathBuf> {
        if self.file(path)?.is_spec() {
            return Some(normal(path));
        }
        let open: Vec<PathBuf> = self
            .documents
            .iter()
            .map(|(path, _)| path.to_owned())
            .collect();
        let mut candidates = open;
        for folder in path.ancestors().skip(1).take(2) {
            candidates.extend(specs_in(folder));
        }
        candidates
            .into_iter()
            .find(|candidate| self.includes(candidate, path))
    }

    fn includes(&mut self, spec: &Path, path: &Path) -> bool {
        let is_spec = self.file(spec).is_some_and(|file| file.is_spec());
        is_spec && {
            let path = normal(path);
            let files = self.with_included(spec);
            files.iter().any(|file| file.path == path)
        }
    }

    /// Returns all files of the spec that a file belongs to, with what it is to that; itself alone if it belongs to none.
    pub(crate) fn files_of(&mut self, path: &Path) -> (Part, Vec<Rc<File>>) {
        let spec = self.spec_of(path);
        let part = match &spec {
            Some(spec) if *spec == normal(path) => Part::Main,
            Some(_) => Part::Included,
            None => Part::Either,
        };
        (part, self.with_included(spec.as_deref().unwrap_or(path)))
    }
}

/// Lists the files of a folder that may be specs, the usual one first.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn specs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_kdl = |path: &PathBuf| path.extension().is_some_and(|is| is == "kdl");
    let mut paths: Vec<PathBuf> = paths.filter(is_kdl).collect();
    paths.sort_by_key(|path| (!path.ends_with(USUAL), path.clone()));
    paths.truncate(CANDIDATES);
    paths
}
