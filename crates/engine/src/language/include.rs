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
        cycles::cycle_edges,
        error::{SpecError, SpecErrors},
        inputs::{ReadFile, SpecInputs},
        load::load_included,
        parse::parser_pool,
        source::{FileRole, Source, Span},
        spec_file::{Include, Item, Profile, SpecFile, read_spec_file},
    },
    provider::{host::Host, registry::Registry},
};

/// The most files that a spec may have.
const MAX_FILES: usize = 10_000;
/// The most files that may include one another in a row.
const MAX_INCLUDE_DEPTH: usize = 32;

/// Whether nothing can be resolved while a mistake is there.
pub(crate) fn blocks_resolving(error: &SpecError) -> bool {
    matches!(
        error.code,
        "spec::var" | "spec::cycle" | "spec::include" | "spec::profile" | "spec::too-many-files"
    )
}

/// The files of a spec.
pub(crate) struct SpecFiles {
    pub(crate) parsed: Vec<SpecFile>,
    /// Where the file of a normal path is among the fragments.
    indices: HashMap<PathBuf, usize>,
    pub(crate) errors: Vec<SpecError>,
}

impl SpecFiles {
    /// Reads the named file and all that are included, in whatever branch, on all cores.
    pub(crate) fn read<H: Host>(
        main: &Arc<Source>,
        inputs: &SpecInputs<'_>,
        registry: &Registry<H>,
    ) -> Result<Self, SpecErrors> {
        let mut files = Self {
            parsed: vec![read_spec_file(main, registry, FileRole::Main)?],
            indices: HashMap::from([(normalize(&main.path), 0)]),
            errors: vec![],
        };
        let mut grammar = vec![];
        let mut next = 0;
        for _ in 0..=MAX_INCLUDE_DEPTH {
            let wanted = files.missing_includes(next);
            if wanted.is_empty() {
                break;
            }
            next = files.parsed.len();
            let read_file = inputs.read;
            let work = || {
                let includes = wanted.par_iter();
                includes
                    .map(|include| read_included(include, read_file, registry))
                    .collect::<Vec<_>>()
            };
            let workers = parser_pool(|| wanted[0].span.clone())?;
            let read = workers.install(work);
            for (include, read) in wanted.iter().zip(read) {
                match read {
                    Ok(fragment) => {
                        let at = files.parsed.len();
                        files.indices.insert(normalize(&include.path), at);
                        files.parsed.push(fragment);
                    }
                    Err(SpecErrors(errors)) if errors.iter().all(blocks_resolving) => {
                        files.errors.extend(errors);
                    }
                    Err(errors) => grammar.extend(errors.0),
                }
            }
        }
        if let Some(include) = files.missing_includes(next).first() {
            grammar.push(
                SpecError::new(
                    "spec::too-many-files",
                    format!("more than {MAX_INCLUDE_DEPTH} files include one another"),
                    include.span.clone(),
                )
                .help("include them side by side from the file with the `host`"),
            );
        }
        if !grammar.is_empty() {
            grammar.append(&mut files.errors);
            return Err(SpecErrors(grammar));
        }
        for fragment in &mut files.parsed {
            files.errors.append(&mut fragment.errors);
        }
        Ok(files)
    }

    /// Returns the files that the fragments from `first` on include and that are not there, each once.
    fn missing_includes(&mut self, first: usize) -> Vec<Include> {
        let mut wanted: Vec<Include> = vec![];
        let mut new = HashSet::new();
        for fragment in &self.parsed[first.min(self.parsed.len())..] {
            let mut includes: Vec<&Include> = fragment.includes.iter().collect();
            collect_includes(&fragment.items, &mut includes);
            for profile in &fragment.profiles {
                collect_includes(&profile.items, &mut includes);
            }
            for include in includes {
                let path = normalize(&include.path);
                if !self.indices.contains_key(&path) && new.insert(path) {
                    wanted.push(include.clone());
                }
            }
        }
        if self.parsed.len() + wanted.len() > MAX_FILES {
            let include = wanted.swap_remove(0);
            wanted.clear();
            self.errors.push(SpecError::new(
                "spec::too-many-files",
                format!("a spec has at most {MAX_FILES} files"),
                include.span,
            ));
        }
        wanted
    }

    pub(crate) fn index_of(&self, include: &Include) -> Option<usize> {
        self.indices.get(&normalize(&include.path)).copied()
    }

    pub(crate) fn profiles(&mut self, errors: &mut Vec<SpecError>) -> BTreeMap<String, Profile> {
        let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
        let all = self.parsed.iter_mut();
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
        for fragment in &self.parsed {
            graph.add_node(format!("`{}`", fragment.source.path.display()));
        }
        for (fragment, from) in self.parsed.iter().zip(0_usize..) {
            let mut includes: Vec<&Include> = fragment.includes.iter().collect();
            collect_includes(&fragment.items, &mut includes);
            for include in includes {
                if let Some(to) = self.index_of(include) {
                    graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), &include.span);
                }
            }
        }
        cycle_errors(&graph, "this file includes itself", "remove this `include`")
    }
}

/// Says which names form a circle, at the last edge of each.
fn cycle_errors(graph: &DiGraph<String, &Span>, fact: &str, help: &str) -> Vec<SpecError> {
    let cycles = cycle_edges(graph).into_iter();
    let errors = cycles.filter_map(|cycle| {
        let name = |node: NodeIndex| graph[node].as_str();
        let (first, _) = graph.edge_endpoints(*cycle.first()?)?;
        let ends = cycle.iter().filter_map(|edge| graph.edge_endpoints(*edge));
        let names = [name(first)]
            .into_iter()
            .chain(ends.map(|(_, to)| name(to)));
        let path = names.collect::<Vec<_>>().join(" → ");
        let last = graph[*cycle.last()?].clone();
        Some(SpecError::new("spec::cycle", format!("{fact}: {path}"), last).help(help))
    });
    errors.collect()
}

fn read_included<H: Host>(
    include: &Include,
    read: &ReadFile<'_>,
    registry: &Registry<H>,
) -> Result<SpecFile, SpecErrors> {
    let path = display_path(&include.path);
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
    let mut source = load_included(path, bytes).map_err(|SpecErrors(mut errors)| {
        for error in &mut errors {
            error
                .labels
                .push((include.span.clone(), "included here".to_owned()));
        }
        SpecErrors(errors)
    })?;
    source.included_at = Some(Box::new(include.span.clone()));
    read_spec_file(&Arc::new(source), registry, FileRole::Included)
}

fn collect_includes<'i>(items: &'i [Item], includes: &mut Vec<&'i Include>) {
    for item in items {
        match item {
            Item::Include(include) => includes.push(include),
            Item::When(_, items) => collect_includes(items, includes),
            Item::Resource(_) | Item::Deferred(..) | Item::Use { .. } => {}
        }
    }
}

/// Returns the path by which the language knows a file: without `.` and `..`, without looking at links.
pub fn normalize(path: &Path) -> PathBuf {
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
fn display_path(path: &Path) -> PathBuf {
    let climbs = path
        .components()
        .any(|component| component == Component::ParentDir);
    if climbs {
        path.to_owned()
    } else {
        normalize(path)
    }
}

/// Finds profiles that use themselves.
pub(crate) fn profile_cycles(profiles: &BTreeMap<String, Profile>) -> Vec<SpecError> {
    fn collect_uses<'p>(items: &'p [Item], found: &mut Vec<(&'p str, &'p Span)>) {
        for item in items {
            match item {
                Item::Use { profile, span } => found.push((profile, span)),
                Item::When(_, items) => collect_uses(items, found),
                Item::Resource(_) | Item::Deferred(..) | Item::Include(_) => {}
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
        collect_uses(&profile.items, &mut found);
        for (to, span) in found {
            if let Some(to) = nodes.get(to) {
                graph.add_edge(nodes[name.as_str()], *to, span);
            }
        }
    }
    cycle_errors(&graph, "this profile uses itself", "remove this `use`")
}
