//! Which files belong to a spec, and to which spec a file belongs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use stead_engine::{
    language::{
        editor::{Outline, Symbols, normalize, outline, symbols},
        source::FileRole,
    },
    provider::registry::Registry,
};
use stead_resources::host::LinuxHost;

use super::documents::Documents;

/// What a spec is called by default, with or without a `host` in it yet.
const DEFAULT_SPEC: &str = "host.kdl";
/// The most files of a spec that are looked at for names.
const MAX_FILES: usize = 1_000;
/// The most files of a directory that are looked at for a spec.
const MAX_CANDIDATES: usize = 64;

/// Files as they are at one moment, each read once.
pub(crate) struct Workspace<'a> {
    documents: &'a Documents,
    registry: &'a Registry<LinuxHost>,
    files: BTreeMap<PathBuf, Option<Rc<WorkspaceFile>>>,
}

/// One file.
pub(crate) struct WorkspaceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) outline: Outline,
    pub(crate) names: Symbols,
}

impl WorkspaceFile {
    /// Whether it is a spec, and not a part of one.
    pub(crate) fn is_spec(&self) -> bool {
        self.names.has_host
            || self
                .path
                .file_name()
                .is_some_and(|name| name == DEFAULT_SPEC)
    }

    /// Returns the path of a file that it includes.
    pub(crate) fn include_path(&self, written: &str) -> PathBuf {
        let dir = self.path.parent().unwrap_or(Path::new(""));
        normalize(&dir.join(written))
    }
}

impl<'a> Workspace<'a> {
    pub(crate) fn new(documents: &'a Documents, registry: &'a Registry<LinuxHost>) -> Self {
        Self {
            documents,
            registry,
            files: BTreeMap::new(),
        }
    }

    /// Returns a file; `None` if it cannot be read.
    pub(crate) fn file(&mut self, path: &Path) -> Option<Rc<WorkspaceFile>> {
        let path = normalize(path);
        if let Some(file) = self.files.get(&path) {
            return file.clone();
        }
        let bytes = self.documents.read(&path).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let file = text.map(|text| {
            let outline = outline(&text);
            let names = symbols(&text, &outline, &|kind| self.registry.get(kind).is_some());
            Rc::new(WorkspaceFile {
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
    pub(crate) fn with_included(&mut self, path: &Path) -> Vec<Rc<WorkspaceFile>> {
        let mut seen = BTreeSet::from([normalize(path)]);
        let mut files: Vec<Rc<WorkspaceFile>> = self.file(path).into_iter().collect();
        let mut next = 0;
        while let Some(file) = files.get(next).cloned() {
            next += 1;
            for include in &file.names.includes {
                let path = file.include_path(include);
                if files.len() < MAX_FILES && seen.insert(path.clone()) {
                    files.extend(self.file(&path));
                }
            }
        }
        files
    }

    /// Returns the spec that a file belongs to: itself if it has a `host`; else one that is open and includes it; else one beside it
    /// or in the directory above.
    pub(crate) fn spec_of(&mut self, path: &Path) -> Option<PathBuf> {
        if self.file(path)?.is_spec() {
            return Some(normalize(path));
        }
        let open: Vec<PathBuf> = self
            .documents
            .iter()
            .map(|(path, _)| path.to_owned())
            .collect();
        let mut candidates = open;
        for dir in path.ancestors().skip(1).take(2) {
            candidates.extend(list_specs(dir));
        }
        candidates
            .into_iter()
            .find(|candidate| self.includes(candidate, path))
    }

    fn includes(&mut self, spec: &Path, path: &Path) -> bool {
        let is_spec = self.file(spec).is_some_and(|file| file.is_spec());
        is_spec && {
            let path = normalize(path);
            let files = self.with_included(spec);
            files.iter().any(|file| file.path == path)
        }
    }

    /// Returns all files of the spec that a file belongs to, with what it is to that; itself alone if it belongs to none.
    pub(crate) fn files_of(&mut self, path: &Path) -> (Option<FileRole>, Vec<Rc<WorkspaceFile>>) {
        let spec = self.spec_of(path);
        let role = spec.as_ref().map(|spec| {
            if *spec == normalize(path) {
                FileRole::Main
            } else {
                FileRole::Included
            }
        });
        (role, self.with_included(spec.as_deref().unwrap_or(path)))
    }
}

/// Lists the files of a directory that may be specs, the usual one first.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn list_specs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_kdl = |path: &PathBuf| path.extension().is_some_and(|is| is == "kdl");
    let mut paths: Vec<PathBuf> = paths.filter(is_kdl).collect();
    paths.sort_by_key(|path| (!path.ends_with(DEFAULT_SPEC), path.clone()));
    paths.truncate(MAX_CANDIDATES);
    paths
}
