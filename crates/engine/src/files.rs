//! The files of a spec: read on all cores, each once, in whatever branch it is included; and those that include themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use crate::{
    fragment::{Fragment, Include, Item, Part, Profile, fragment},
    parse::workers,
    provider::Host,
    registry::Registry,
    source::load_part,
    spec::{Source, Span},
    spec_error::{SpecError, SpecErrors},
    surroundings::{Read, Surroundings},
};

/// The most files that a spec may have.
const FILES: usize = 10_000;
/// The most files that may include one another in a row.
const DEPTH: usize = 32;

/// Whether nothing can be resolved while a mistake is there.
pub(crate) fn is_fundamental(error: &SpecError) -> bool {
    matches!(
        error.code,
        "spec::var" | "spec::cycle" | "spec::include" | "spec::profile" | "spec::too-many-files"
    )
}

/// The files of a spec.
pub(crate) struct Files {
    pub(crate) fragments: Vec<Fragment>,
    /// Where the file of a normal path is among the fragments.
    places: HashMap<PathBuf, usize>,
    pub(crate) errors: Vec<SpecError>,
}

impl Files {
    /// Reads the named file and all that are included, in whatever branch, on all cores.
    pub(crate) fn read<H: Host>(
        main: &Arc<Source>,
        surroundings: &Surroundings<'_>,
        registry: &Registry<H>,
    ) -> Result<Self, SpecErrors> {
        let mut files = Self {
            fragments: vec![fragment(main, registry, Part::Main)?],
            places: HashMap::from([(normal(&main.path), 0)]),
            errors: vec![],
        };
        let mut grammar = vec![];
        let mut next = 0;
        for _ in 0..=DEPTH {
            let wanted = files.wanted(next);
            if wanted.is_empty() {
                break;
            }
            next = files.fragments.len();
            let means = surroundings.read;
            let work = || {
                let includes = wanted.par_iter();
                includes
                    .map(|include| included(include, means, registry))
                    .collect::<Vec<_>>()
            };
            let workers = workers().map_err(|error| no_threads(&wanted[0], &error))?;
            let read = workers.install(work);
            for (include, read) in wanted.iter().zip(read) {
                match read {
                    Ok(fragment) => {
                        let at = files.fragments.len();
                        files.places.insert(normal(&include.path), at);
                        files.fragments.push(fragment);
                    }
                    Err(SpecErrors(errors)) if errors.iter().all(is_fundamental) => {
                        files.errors.extend(errors);
                    }
                    Err(errors) => grammar.extend(errors.0),
                }
            }
        }
        if let Some(include) = files.wanted(next).first() {
            grammar.push(
                SpecError::new(
                    "spec::too-many-files",
                    format!("more than {DEPTH} files include one another here"),
                    include.span.clone(),
                )
                .help("include them side by side from the file with the `host`"),
            );
        }
        if !grammar.is_empty() {
            grammar.append(&mut files.errors);
            return Err(SpecErrors(grammar));
        }
        for fragment in &mut files.fragments {
            files.errors.append(&mut fragment.errors);
        }
        Ok(files)
    }

    /// Returns the files that the fragments from `first` on include and that are not there, each once.
    fn wanted(&mut self, first: usize) -> Vec<Include> {
        let mut wanted: Vec<Include> = vec![];
        let mut new = HashSet::new();
        for fragment in &self.fragments[first.min(self.fragments.len())..] {
            let mut includes: Vec<&Include> = fragment.includes.iter().collect();
            collect_includes(&fragment.items, &mut includes);
            for profile in &fragment.profiles {
                collect_includes(&profile.items, &mut includes);
            }
            for include in includes {
                let path = normal(&include.path);
                if !self.places.contains_key(&path) && new.insert(path) {
                    wanted.push(include.clone());
                }
            }
        }
        if self.fragments.len() + wanted.len() > FILES {
            let include = wanted.swap_remove(0);
            wanted.clear();
            self.errors.push(SpecError::new(
                "spec::too-many-files",
                format!("a spec has at most {FILES} files"),
                include.span,
            ));
        }
        wanted
    }

    pub(crate) fn place(&self, include: &Include) -> Option<usize> {
        self.places.get(&normal(&include.path)).copied()
    }

    pub(crate) fn profiles(&mut self, errors: &mut Vec<SpecError>) -> BTreeMap<String, Profile> {
        let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
        let all = self.fragments.iter_mut();
        for profile in all.flat_map(|fragment| std::mem::take(&mut fragment.profiles)) {
            match profiles.get(&profile.name) {
                None => drop(profiles.insert(profile.name.clone(), profile)),
                Some(first) => errors.push(
                    SpecError::new(
                        "spec::duplicate",
                        format!("the profile `{}` is there twice", profile.name),
                        profile.span,
                    )
                    .label(first.span.clone(), "first here")
                    .help("give one of them another name"),
                ),
            }
        }
        profiles
    }

    /// Finds files that include themselves, each with its path.
    pub(crate) fn cycles(&self) -> Vec<SpecError> {
        let edges: Vec<Vec<(usize, &Include)>> = self
            .fragments
            .iter()
            .map(|fragment| {
                let mut includes: Vec<&Include> = fragment.includes.iter().collect();
                collect_includes(&fragment.items, &mut includes);
                let there = includes.into_iter();
                there
                    .filter_map(|include| Some((self.place(include)?, include)))
                    .collect()
            })
            .collect();
        let mut errors = vec![];
        let mut done = vec![false; edges.len()];
        for start in 0..edges.len() {
            let mut path = vec![];
            self.walk(start, &edges, &mut path, &mut done, &mut errors);
        }
        errors
    }

    fn walk(
        &self,
        at: usize,
        edges: &[Vec<(usize, &Include)>],
        path: &mut Vec<usize>,
        done: &mut [bool],
        errors: &mut Vec<SpecError>,
    ) {
        if done[at] {
            return;
        }
        path.push(at);
        for &(to, include) in &edges[at] {
            if let Some(from) = path.iter().position(|&file| file == to) {
                let names = path[from..].iter().chain([&to]);
                let names: Vec<_> = names
                    .map(|&file| format!("`{}`", self.fragments[file].source.path.display()))
                    .collect();
                errors.push(
                    SpecError::new(
                        "spec::cycle",
                        format!("this file includes itself: {}", names.join(" → ")),
                        include.span.clone(),
                    )
                    .help("take this `include` away"),
                );
            } else {
                self.walk(to, edges, path, done, errors);
            }
        }
        path.pop();
        done[at] = true;
    }
}

fn no_threads(include: &Include, error: &rayon::ThreadPoolBuildError) -> SpecErrors {
    SpecErrors(vec![SpecError::new(
        "spec::include",
        format!("cannot start the threads that read files: {error}"),
        include.span.clone(),
    )])
}

fn included<H: Host>(
    include: &Include,
    read: &Read<'_>,
    registry: &Registry<H>,
) -> Result<Fragment, SpecErrors> {
    let path = shown(&include.path);
    let bytes = read(&path).map_err(|error| {
        SpecErrors(vec![
            SpecError::new(
                "spec::include",
                format!("cannot read `{}`: {error}", path.display()),
                include.span.clone(),
            )
            .help("the path is relative to the file that includes it"),
        ])
    })?;
    let source = load_part(path, bytes).map_err(|SpecErrors(mut errors)| {
        for error in &mut errors {
            error
                .labels
                .push((include.span.clone(), "included here".to_owned()));
        }
        SpecErrors(errors)
    })?;
    let source = Arc::new(Source {
        included_at: Some(Box::new(include.span.clone())),
        ..source
    });
    fragment(&source, registry, Part::Included)
}

fn collect_includes<'i>(items: &'i [Item], includes: &mut Vec<&'i Include>) {
    for item in items {
        match item {
            Item::Include(include) => includes.push(include),
            Item::When(_, items) => collect_includes(items, includes),
            Item::Resource(_) | Item::Open(..) | Item::Use { .. } => {}
        }
    }
}

/// Returns the path by which a file is known: without `.` and `..`, without looking at links.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(normal.components().next_back(), Some(Component::Normal(_))) =>
            {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Returns the path as people want to read it: as it is known, if that does not change where it leads.
fn shown(path: &Path) -> PathBuf {
    let climbs = path
        .components()
        .any(|component| component == Component::ParentDir);
    if climbs {
        path.to_owned()
    } else {
        normal(path)
    }
}

/// Finds profiles that use themselves.
pub(crate) fn profile_cycles(profiles: &BTreeMap<String, Profile>) -> Vec<SpecError> {
    fn used<'p>(items: &'p [Item], found: &mut Vec<(&'p str, &'p Span)>) {
        for item in items {
            match item {
                Item::Use { profile, span } => found.push((profile, span)),
                Item::When(_, items) => used(items, found),
                Item::Resource(_) | Item::Open(..) | Item::Include(_) => {}
            }
        }
    }
    fn walk<'p>(
        name: &'p str,
        profiles: &'p BTreeMap<String, Profile>,
        path: &mut Vec<&'p str>,
        done: &mut BTreeSet<&'p str>,
        errors: &mut Vec<SpecError>,
    ) {
        let Some(profile) = profiles.get(name).filter(|_| !done.contains(name)) else {
            return;
        };
        path.push(name);
        let mut found = vec![];
        used(&profile.items, &mut found);
        for (to, span) in found {
            if let Some(from) = path.iter().position(|name| *name == to) {
                let names = path[from..].iter().chain([&to]);
                let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
                errors.push(
                    SpecError::new(
                        "spec::cycle",
                        format!("this profile uses itself: {}", names.join(" → ")),
                        span.clone(),
                    )
                    .help("take this `use` away"),
                );
            } else {
                walk(to, profiles, path, done, errors);
            }
        }
        path.pop();
        done.insert(name);
    }
    let mut errors = vec![];
    let mut done = BTreeSet::new();
    for name in profiles.keys() {
        walk(name, profiles, &mut vec![], &mut done, &mut errors);
    }
    errors
}
