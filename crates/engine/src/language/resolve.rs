//! Resolves the files of a spec: includes, values and conditions; reports all
//! errors at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use kdl::{KdlEntry, KdlNode};

use crate::{
    language::{
        bindings::Bindings,
        check::{conflicting_paths, duplicates, unknown_needs},
        condition::{Condition, Subject},
        decode::{Decoder, is_plain},
        error::{SpecError, SpecErrors},
        include::{SpecFiles, blocks_resolving, profile_cycles},
        inputs::SpecInputs,
        load::EMPTY_SPEC_HELP,
        provenance::{Provenance, Via},
        source::{Source, Span},
        spans::entry_span,
        spec::{Resource, Spec, SpecSources},
        spec_file::{HostNode, Include, Item, Profile},
        value::is_deferred,
        variable::override_without_base,
    },
    model::{address::Address, suggest},
    provider::{host::Host, registry::Registry},
};

/// The most includes, profiles and conditions that may stand in one another.
const MAX_NESTING: usize = 128;

/// Decodes a text that stands for itself alone.
///
/// # Errors
/// As [`resolve`].
pub fn decode<H: Host>(source: &Arc<Source>, registry: &Registry<H>) -> Result<Spec, SpecErrors> {
    resolve(source, &SpecInputs::isolated(), registry)
}

/// Resolves a spec: the source that was named, with everything that it includes and asks for.
///
/// # Errors
/// All mistakes; those of grammar alone where there are any, because what follows from them would only confuse.
pub fn resolve<H: Host>(
    main: &Arc<Source>,
    inputs: &SpecInputs<'_>,
    registry: &Registry<H>,
) -> Result<Spec, SpecErrors> {
    let mut files = SpecFiles::read(main, inputs, registry)?;
    let mut errors: Vec<SpecError> = std::mem::take(&mut files.errors);
    let order: HashMap<*const Source, usize> = files
        .parsed
        .iter()
        .enumerate()
        .map(|(at, fragment)| (Arc::as_ptr(&fragment.source), at))
        .collect();
    let variables = files
        .parsed
        .iter_mut()
        .flat_map(|fragment| std::mem::take(&mut fragment.variables));
    let bindings = Bindings::new(variables.collect::<Vec<_>>(), inputs, &mut errors);
    let mentions: Vec<_> = files
        .parsed
        .iter_mut()
        .flat_map(|fragment| std::mem::take(&mut fragment.variable_uses))
        .collect();
    // What a file that is not there would have declared is no mistake.
    if !errors.iter().any(blocks_resolving) {
        errors.extend(bindings.check(&mentions));
    }
    let profiles = files.profiles(&mut errors);
    errors.extend(files.cycles());
    errors.extend(profile_cycles(&profiles));
    let spec = if errors.iter().any(blocks_resolving) {
        None
    } else {
        let mut resolver = Resolver {
            registry,
            files,
            bindings,
            profiles,
            included: HashSet::new(),
            expanded_profiles: BTreeSet::new(),
            resources: vec![],
            errors: vec![],
        };
        let spec = resolver.resolve_spec();
        errors.append(&mut resolver.errors);
        Some(spec)
    };
    match spec {
        Some(spec) if errors.is_empty() => Ok(spec),
        _ => {
            errors.sort_by_key(|error| {
                let place = error.labels.first();
                place.map(|(span, _)| {
                    let file = order.get(&Arc::as_ptr(&span.source));
                    (file.copied().unwrap_or(usize::MAX), span.offset)
                })
            });
            Err(SpecErrors(errors))
        }
    }
}

struct Resolver<'a, H: Host> {
    registry: &'a Registry<H>,
    files: SpecFiles,
    bindings: Bindings<'a>,
    profiles: BTreeMap<String, Profile>,
    /// The files whose resources are there: each is taken once.
    included: HashSet<usize>,
    /// The profiles whose resources are there: each is taken once.
    expanded_profiles: BTreeSet<String>,
    resources: Vec<Resource>,
    errors: Vec<SpecError>,
}

impl<H: Host> Resolver<'_, H> {
    fn resolve_spec(&mut self) -> Spec {
        let main = &mut self.files.parsed[0];
        let (source, heading) = (main.source.clone(), main.host.take());
        let items = std::mem::take(&mut main.items);
        let includes = std::mem::take(&mut main.includes);
        let host = if let Some(heading) = heading {
            self.host_name(&source, heading)
        } else {
            let nowhere = Span::new(&source, 0..0);
            let error = SpecError::new("spec::empty", "the spec has no `host`", nowhere);
            self.errors.push(error.help(EMPTY_SPEC_HELP));
            String::new()
        };
        for include in includes {
            self.include_at_top_level(&include);
        }
        self.items(items, &Arc::default());
        let resources = std::mem::take(&mut self.resources);
        let resources = self.apply_overrides(resources);
        self.errors.extend(duplicates(&resources));
        self.errors
            .extend(conflicting_paths(&resources, self.registry));
        self.errors.extend(unknown_needs(&resources));
        let fragments = self.files.parsed.iter();
        let (environment, facts) = self.bindings.lookups();
        let sources = SpecSources {
            files: fragments.map(|fragment| fragment.source.clone()).collect(),
            environment,
            facts,
        };
        Spec {
            host,
            resources,
            sources,
        }
    }

    fn host_name(&mut self, source: &Arc<Source>, HostNode { mut node, span }: HostNode) -> String {
        let help = "write `host \"NAME\" { … }`";
        if let Some(ty) = node.ty() {
            let at = ty.span();
            let at = Span::new(source, at.offset()..at.offset() + at.len());
            self.errors
                .push(crate::language::variable::unknown_annotation(
                    ty.value(),
                    at,
                ));
        }
        let mut origins = vec![];
        for entry in node
            .entries_mut()
            .iter_mut()
            .filter(|entry| entry.ty().is_some())
        {
            match self.bindings.substitute(source, entry) {
                Ok(origin) => origins.push(origin),
                Err(error) => {
                    self.errors.push(error);
                    return String::new();
                }
            }
        }
        let error = match node.entries() {
            [entry] if entry.name().is_none() => {
                if let Some(name) = entry.value().as_string().filter(|name| is_plain(name)) {
                    return name.to_owned();
                }
                let fact = "the name of the host is one line of text";
                SpecError::new("spec::host-name", fact, entry_span(source, entry))
            }
            [] => SpecError::new("spec::host-name", "the host has no name", span),
            [first, rest @ ..] => {
                let extra = rest.first().unwrap_or(first);
                let fact = "a host takes a name and nothing else";
                SpecError::new("spec::host-name", fact, entry_span(source, extra))
            }
        };
        self.errors.push(error.help(help).with_origin(&origins));
        String::new()
    }

    /// Takes what a file declares; resources have no place there.
    fn include_at_top_level(&mut self, include: &Include) {
        let Some(at) = self.files.index_of(include) else {
            return;
        };
        let has_resources = self.files.parsed[at]
            .items
            .iter()
            .any(|item| !matches!(item, Item::Include(_)));
        if has_resources {
            self.errors.push(
                SpecError::new(
                    "spec::top-level",
                    format!(
                        "`{}` has resources, and it is included outside of `host`",
                        include.path.display()
                    ),
                    include.span.clone(),
                )
                .help("put the `include` inside `host`"),
            );
            return;
        }
        if !self.included.insert(at) {
            return;
        }
        for item in std::mem::take(&mut self.files.parsed[at].items) {
            if let Item::Include(include) = item {
                self.include_at_top_level(&include);
            }
        }
    }

    fn items(&mut self, items: Vec<Item>, steps: &Arc<Vec<Via>>) {
        for item in items {
            match item {
                Item::Resource(mut resource) => {
                    resource.provenance.via = steps.clone();
                    self.resources.push(*resource);
                }
                Item::Deferred(source, node) => self.resolve_deferred(&source, *node, steps),
                Item::Include(include) => {
                    let index = self.files.index_of(&include);
                    if let Some(at) = index.filter(|&at| self.included.insert(at)) {
                        let items = std::mem::take(&mut self.files.parsed[at].items);
                        self.descend(items, steps, Via::Include(include.span));
                    }
                }
                Item::Use { profile, span } => self.use_profile(&profile, span, steps),
                Item::When(condition, items) => self.expand_when(&condition, items, steps),
            }
        }
    }

    /// Takes what stands within an include, a profile or a condition.
    fn descend(&mut self, items: Vec<Item>, steps: &Arc<Vec<Via>>, step: Via) {
        if steps.len() == MAX_NESTING {
            let (Via::Include(span) | Via::Use(span) | Via::When { span, .. }) = step;
            let fact =
                format!("more than {MAX_NESTING} includes, profiles and conditions are nested");
            let error = SpecError::new("spec::too-deep", fact, span);
            self.errors.push(error.help("put them beside each other"));
            return;
        }
        let steps = steps.iter().cloned().chain([step]);
        self.items(items, &Arc::new(steps.collect()));
    }

    fn use_profile(&mut self, name: &str, span: Span, steps: &Arc<Vec<Via>>) {
        let Some(profile) = self.profiles.get(name) else {
            let names = self.profiles.keys().map(String::as_str);
            let error = SpecError::new(
                "spec::profile",
                format!("there is no profile `{name}`"),
                span,
            )
            .help(suggest::did_you_mean("the profiles are", name, names));
            self.errors.push(error);
            return;
        };
        if self.expanded_profiles.insert(name.to_owned()) {
            let items = profile.items.clone();
            self.descend(items, steps, Via::Use(span));
        }
    }

    fn expand_when(&mut self, condition: &Condition, items: Vec<Item>, steps: &Arc<Vec<Via>>) {
        let value = match condition.subject {
            Subject::Fact => self.bindings.fact(&condition.name, &condition.name_span),
            Subject::Variable => self
                .bindings
                .variable(&condition.name, &condition.name_span),
        };
        let matched = value.and_then(|(value, _)| Ok((condition.is_true(&value)?, value)));
        match matched {
            Ok((true, value)) => {
                let step = Via::When {
                    span: condition.span.clone(),
                    condition: condition.describe(&value),
                };
                self.descend(items, steps, step);
            }
            Ok((false, _)) => {}
            Err(error) => self.errors.push(error),
        }
    }

    /// Fills the values in and decodes.
    fn resolve_deferred(&mut self, source: &Arc<Source>, mut node: KdlNode, steps: &Arc<Vec<Via>>) {
        let mut values = vec![];
        let count = self.errors.len();
        let mut fill = |entry: &mut KdlEntry| match self.bindings.substitute(source, entry) {
            Ok(origin) => values.push(origin),
            Err(error) => self.errors.push(error),
        };
        substitute_all(&mut node, &mut fill);
        if self.errors.len() > count {
            return;
        }
        let mut decoder = Decoder::new(source, self.registry);
        let resource = decoder.resource(&node);
        let traced = decoder.errors.into_iter();
        self.errors
            .extend(traced.map(|error| error.with_origin(&values)));
        self.resources.extend(resource.map(|resource| Resource {
            provenance: Provenance {
                via: steps.clone(),
                values,
                ..resource.provenance
            },
            ..resource
        }));
    }

    /// Puts what replaces another declaration into its place.
    fn apply_overrides(&mut self, resources: Vec<Resource>) -> Vec<Resource> {
        let is_override = |resource: &Resource| resource.provenance.is_override.is_some();
        if !resources.iter().any(is_override) {
            return resources;
        }
        let (overrides, mut plain): (Vec<_>, Vec<_>) = resources.into_iter().partition(is_override);
        let mut bases: HashMap<Address, usize> = HashMap::new();
        for (at, base) in plain.iter().enumerate() {
            bases.entry(base.address.clone()).or_insert(at);
        }
        for mut one in overrides {
            let says = one.provenance.is_override.clone().expect("an override");
            let Some(base) = bases.get(&one.address).map(|&at| &mut plain[at]) else {
                self.errors
                    .push(override_without_base(&one.address.to_string(), says));
                continue;
            };
            if let Some(first) = &base.provenance.is_override {
                let fact = format!("{} is overridden twice", one.address);
                let error = SpecError::new("spec::duplicate", fact, says);
                let error = error.label(first.clone(), "first here");
                self.errors.push(error.help("keep one of them"));
                continue;
            }
            one.provenance.replaces = Some(base.span.clone());
            *base = one;
        }
        plain
    }
}

fn substitute_all(node: &mut KdlNode, fill: &mut impl FnMut(&mut KdlEntry)) {
    for entry in node
        .entries_mut()
        .iter_mut()
        .filter(|entry| is_deferred(entry))
    {
        fill(entry);
    }
    if let Some(children) = node.children_mut() {
        for child in children.nodes_mut() {
            substitute_all(child, fill);
        }
    }
}
