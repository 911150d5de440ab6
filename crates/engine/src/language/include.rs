//! The files of a spec: read on all cores, each once, in whatever branch it is included; and those that include themselves.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use petgraph::graph::{DiGraph, NodeIndex};
use rayon::prelude::*;

use crate::{
    language::{
        cycles::circles,
        error::{SpecError, SpecErrors},
        inputs::{Read, Surroundings},
        load::load_part,
        parse::workers,
        source::{Source, Span},
        spec_file::{Fragment, Include, Item, Part, Profile, fragment},
    },
    provider::{host::Host, registry::Registry},
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
            let workers = workers(|| wanted[0].span.clone())?;
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
                    format!("more than {DEPTH} files include one another"),
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
                        format!("the profile `{}` is declared twice", profile.name),
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
        let mut graph = DiGraph::new();
        for fragment in &self.fragments {
            graph.add_node(format!("`{}`", fragment.source.path.display()));
        }
        for (fragment, from) in self.fragments.iter().zip(0_usize..) {
            let mut includes: Vec<&Include> = fragment.includes.iter().collect();
            collect_includes(&fragment.items, &mut includes);
            for include in includes {
                if let Some(to) = self.place(include) {
                    graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), &include.span);
                }
            }
        }
        told(&graph, "this file includes itself", "remove this `include`")
    }
}

/// Says which names form a circle, at the last edge of each.
fn told(graph: &DiGraph<String, &Span>, fact: &str, help: &str) -> Vec<SpecError> {
    let circles = circles(graph).into_iter();
    let errors = circles.filter_map(|circle| {
        let name = |node: NodeIndex| graph[node].as_str();
        let (first, _) = graph.edge_endpoints(*circle.first()?)?;
        let ends = circle.iter().filter_map(|edge| graph.edge_endpoints(*edge));
        let names = [name(first)]
            .into_iter()
            .chain(ends.map(|(_, to)| name(to)));
        let path = names.collect::<Vec<_>>().join(" → ");
        let last = graph[*circle.last()?].clone();
        Some(SpecError::new("spec::cycle", format!("{fact}: {path}"), last).help(help))
    });
    errors.collect()
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
    let mut source = load_part(path, bytes).map_err(|SpecErrors(mut errors)| {
        for error in &mut errors {
            error
                .labels
                .push((include.span.clone(), "included here".to_owned()));
        }
        SpecErrors(errors)
    })?;
    source.included_at = Some(Box::new(include.span.clone()));
    fragment(&Arc::new(source), registry, Part::Included)
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

/// Returns the path by which the language knows a file: without `.` and `..`, without looking at links.
pub fn normal(path: &Path) -> PathBuf {
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
    let mut graph = DiGraph::new();
    let nodes: BTreeMap<&str, NodeIndex> = profiles
        .keys()
        .map(|name| (name.as_str(), graph.add_node(format!("`{name}`"))))
        .collect();
    for (name, profile) in profiles {
        let mut found = vec![];
        used(&profile.items, &mut found);
        for (to, span) in found {
            if let Some(to) = nodes.get(to) {
                graph.add_edge(nodes[name.as_str()], *to, span);
            }
        }
    }
    told(&graph, "this profile uses itself", "remove this `use`")
}
