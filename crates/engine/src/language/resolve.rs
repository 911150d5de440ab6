//! Resolves the files of a spec: includes, values and conditions; reports all
//! errors at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use kdl::{KdlEntry, KdlNode};

use crate::{
    language::{
        bindings::Values,
        check::{duplicates, same_places, unknown_needs},
        condition::{Condition, Subject},
        decode::{Decoder, is_plain},
        error::{SpecError, SpecErrors},
        include::{Files, is_fundamental, profile_cycles},
        inputs::Surroundings,
        load::SKELETON,
        provenance::{Provenance, Via},
        source::{Source, Span},
        spans::entry_span,
        spec::{Basis, Resource, Spec},
        spec_file::{Heading, Include, Item, Profile},
        value::is_open,
        variable::overrides_nothing,
    },
    model::{address::Address, suggest},
    provider::{host::Host, registry::Registry},
};

/// The most includes, profiles and conditions that may stand in one another.
const NESTED: usize = 128;

/// Decodes a text that stands for itself alone.
///
/// # Errors
/// As [`resolve`].
pub fn decode<H: Host>(source: &Arc<Source>, registry: &Registry<H>) -> Result<Spec, SpecErrors> {
    resolve(source, &Surroundings::none(), registry)
}

/// Resolves a spec: the source that was named, with everything that it includes and asks for.
///
/// # Errors
/// All mistakes; those of grammar alone where there are any, because what follows from them would only confuse.
pub fn resolve<H: Host>(
    main: &Arc<Source>,
    surroundings: &Surroundings<'_>,
    registry: &Registry<H>,
) -> Result<Spec, SpecErrors> {
    let mut files = Files::read(main, surroundings, registry)?;
    let mut errors: Vec<SpecError> = std::mem::take(&mut files.errors);
    let order: HashMap<*const Source, usize> = files
        .fragments
        .iter()
        .enumerate()
        .map(|(at, fragment)| (Arc::as_ptr(&fragment.source), at))
        .collect();
    let variables = files
        .fragments
        .iter_mut()
        .flat_map(|fragment| std::mem::take(&mut fragment.variables));
    let values = Values::new(variables.collect::<Vec<_>>(), surroundings, &mut errors);
    let mentions: Vec<_> = files
        .fragments
        .iter_mut()
        .flat_map(|fragment| std::mem::take(&mut fragment.mentions))
        .collect();
    // What a file that is not there would have declared is no mistake.
    if !errors.iter().any(is_fundamental) {
        errors.extend(values.check(&mentions));
    }
    let profiles = files.profiles(&mut errors);
    errors.extend(files.cycles());
    errors.extend(profile_cycles(&profiles));
    let spec = if errors.iter().any(is_fundamental) {
        None
    } else {
        let mut resolver = Resolver {
            registry,
            files,
            values,
            profiles,
            taken: HashSet::new(),
            used: BTreeSet::new(),
            resources: vec![],
            errors: vec![],
        };
        let spec = resolver.spec();
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
    files: Files,
    values: Values<'a>,
    profiles: BTreeMap<String, Profile>,
    /// The files whose resources are there: each is taken once.
    taken: HashSet<usize>,
    /// The profiles whose resources are there: each is taken once.
    used: BTreeSet<String>,
    resources: Vec<Resource>,
    errors: Vec<SpecError>,
}

impl<H: Host> Resolver<'_, H> {
    fn spec(&mut self) -> Spec {
        let main = &mut self.files.fragments[0];
        let (source, heading) = (main.source.clone(), main.host.take());
        let items = std::mem::take(&mut main.items);
        let includes = std::mem::take(&mut main.includes);
        let host = if let Some(heading) = heading {
            self.host_name(&source, heading)
        } else {
            let nowhere = Span::of(&source, 0..0);
            let error = SpecError::new("spec::empty", "the spec has no `host`", nowhere);
            self.errors.push(error.help(SKELETON));
            String::new()
        };
        for include in includes {
            self.include_beside(&include);
        }
        self.items(items, &Arc::default());
        let resources = std::mem::take(&mut self.resources);
        let resources = self.overridden(resources);
        self.errors.extend(duplicates(&resources));
        self.errors.extend(same_places(&resources, self.registry));
        self.errors.extend(unknown_needs(&resources));
        let fragments = self.files.fragments.iter();
        let (environment, facts) = self.values.asked();
        let basis = Basis {
            files: fragments.map(|fragment| fragment.source.clone()).collect(),
            environment,
            facts,
        };
        Spec {
            host,
            resources,
            basis,
        }
    }

    fn host_name(&mut self, source: &Arc<Source>, Heading { mut node, span }: Heading) -> String {
        let help = "write `host \"NAME\" { … }`";
        if let Some(ty) = node.ty() {
            let at = ty.span();
            let at = Span::of(source, at.offset()..at.offset() + at.len());
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
            match self.values.fill(source, entry) {
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
        self.errors.push(error.help(help).traced(&origins));
        String::new()
    }

    /// Takes what a file declares; resources have no place there.
    fn include_beside(&mut self, include: &Include) {
        let Some(at) = self.files.place(include) else {
            return;
        };
        let has_resources = self.files.fragments[at]
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
        if !self.taken.insert(at) {
            return;
        }
        for item in std::mem::take(&mut self.files.fragments[at].items) {
            if let Item::Include(include) = item {
                self.include_beside(&include);
            }
        }
    }

    fn items(&mut self, items: Vec<Item>, steps: &Arc<Vec<Via>>) {
        for item in items {
            match item {
                Item::Resource(mut resource) => {
                    resource.provenance.steps = steps.clone();
                    self.resources.push(*resource);
                }
                Item::Open(source, node) => self.open(&source, *node, steps),
                Item::Include(include) => {
                    let there = self.files.place(&include);
                    if let Some(at) = there.filter(|&at| self.taken.insert(at)) {
                        let items = std::mem::take(&mut self.files.fragments[at].items);
                        self.within(items, steps, Via::Include(include.span));
                    }
                }
                Item::Use { profile, span } => self.r#use(&profile, span, steps),
                Item::When(condition, items) => self.when(&condition, items, steps),
            }
        }
    }

    /// Takes what stands within an include, a profile or a condition.
    fn within(&mut self, items: Vec<Item>, steps: &Arc<Vec<Via>>, step: Via) {
        if steps.len() == NESTED {
            let (Via::Include(span) | Via::Use(span) | Via::When { span, .. }) = step;
            let fact = format!("more than {NESTED} includes, profiles and conditions are nested");
            let error = SpecError::new("spec::too-deep", fact, span);
            self.errors.push(error.help("put them beside each other"));
            return;
        }
        let steps = steps.iter().cloned().chain([step]);
        self.items(items, &Arc::new(steps.collect()));
    }

    fn r#use(&mut self, name: &str, span: Span, steps: &Arc<Vec<Via>>) {
        let Some(profile) = self.profiles.get(name) else {
            let names = self.profiles.keys().map(String::as_str);
            let error = SpecError::new(
                "spec::profile",
                format!("there is no profile `{name}`"),
                span,
            )
            .help(suggest::help("the profiles are", name, names));
            self.errors.push(error);
            return;
        };
        if self.used.insert(name.to_owned()) {
            let items = profile.items.clone();
            self.within(items, steps, Via::Use(span));
        }
    }

    fn when(&mut self, condition: &Condition, items: Vec<Item>, steps: &Arc<Vec<Via>>) {
        let value = match condition.subject {
            Subject::Fact => self.values.fact(&condition.name, &condition.name_span),
            Subject::Variable => self.values.variable(&condition.name, &condition.name_span),
        };
        let held = value.and_then(|(value, _)| Ok((condition.holds(&value)?, value)));
        match held {
            Ok((true, value)) => {
                let step = Via::When {
                    span: condition.span.clone(),
                    held: condition.held(&value),
                };
                self.within(items, steps, step);
            }
            Ok((false, _)) => {}
            Err(error) => self.errors.push(error),
        }
    }

    /// Fills the values in and decodes.
    fn open(&mut self, source: &Arc<Source>, mut node: KdlNode, steps: &Arc<Vec<Via>>) {
        let mut values = vec![];
        let count = self.errors.len();
        let mut fill = |entry: &mut KdlEntry| match self.values.fill(source, entry) {
            Ok(origin) => values.push(origin),
            Err(error) => self.errors.push(error),
        };
        fill_all(&mut node, &mut fill);
        if self.errors.len() > count {
            return;
        }
        let mut decoder = Decoder::new(source, self.registry);
        let resource = decoder.resource(&node);
        let traced = decoder.errors.into_iter();
        self.errors
            .extend(traced.map(|error| error.traced(&values)));
        self.resources.extend(resource.map(|resource| Resource {
            provenance: Provenance {
                steps: steps.clone(),
                values,
                ..resource.provenance
            },
            ..resource
        }));
    }

    /// Puts what replaces another declaration into its place.
    fn overridden(&mut self, resources: Vec<Resource>) -> Vec<Resource> {
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
                    .push(overrides_nothing(&one.address.to_string(), says));
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

fn fill_all(node: &mut KdlNode, fill: &mut impl FnMut(&mut KdlEntry)) {
    for entry in node.entries_mut().iter_mut().filter(|entry| is_open(entry)) {
        fill(entry);
    }
    if let Some(children) = node.children_mut() {
        for child in children.nodes_mut() {
            fill_all(child, fill);
        }
    }
}
