//! The verification: the printed spec is read again, and its plan on this host must be empty.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::join_all;
use serde_json::Value;

use crate::{
    import::{
        coverage::Coverage,
        options::{CopiedSource, ImportError, ImportOptions, path_attributes},
    },
    language::{
        error::SpecErrors,
        print::{PrintedResource, SpecSections, print_spec},
        resolve::decode,
        source::Source,
        spec::Spec,
    },
    model::{
        address::Address,
        schema::{Absence, Problem, Schema},
        state::{Desired, State},
    },
    plan::{
        document::PlanError,
        graph::Graph,
        merge::compared_attributes,
        observe::{ObserveError, observe},
        planner::{desired_resources, plan_desired},
    },
    provider::{erased::DynProvider, error::ProviderError, host::Host, registry::Registry},
};

/// Returns what a spec says already, ready to be compared.
async fn already_declared<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    against: Option<&Graph>,
) -> BTreeMap<Address, Option<State>> {
    let resources = against.iter().flat_map(|graph| graph.resources());
    let said = resources.map(async |resource| {
        let address = &resource.address;
        let state = match (&resource.desired, registry.provider_of(address)) {
            (Desired::Present(state), Ok(kind)) => kind
                .prepare(reader, &address.name, State::clone(state))
                .await
                .ok(),
            _ => None,
        };
        (address.clone(), state)
    });
    join_all(said).await.into_iter().collect()
}

/// Whether one value says all that another says.
fn declares(one: Option<&Value>, other: &Value) -> bool {
    match (one, other) {
        (Some(Value::Object(one)), Value::Object(other)) => other
            .iter()
            .all(|(key, value)| declares(one.get(key), value)),
        (one, other) => one == Some(other),
    }
}

/// Turns groups into a text whose plan on this host is empty.
pub(crate) struct RoundTrip<'a, H: Host> {
    registry: &'a Registry<H>,
    reader: &'a H::Reader,
    import: &'a ImportOptions<'a>,
    /// What became of everything.
    pub(crate) coverage: Coverage,
    /// Files whose bytes go beside the spec.
    pub(crate) sources: BTreeSet<CopiedSource>,
    /// How many resources were written.
    pub(crate) resources: usize,
    declared: BTreeMap<Address, Option<State>>,
}

impl<'a, H: Host> RoundTrip<'a, H> {
    /// Begins with what is said already.
    pub(crate) async fn begin(
        registry: &'a Registry<H>,
        reader: &'a H::Reader,
        import: &'a ImportOptions<'a>,
        coverage: Coverage,
    ) -> Self {
        Self {
            registry,
            reader,
            import,
            coverage,
            sources: BTreeSet::new(),
            resources: 0,
            declared: already_declared(registry, reader, import.existing).await,
        }
    }

    /// Writes groups down; gives up on single resources that no plan can be made of, and names them.
    ///
    /// # Errors
    /// If the plan of what is to be written is not empty.
    pub(crate) async fn verify(&mut self, mut groups: SpecSections) -> Result<String, ImportError> {
        self.drop_declared(&mut groups).await;
        loop {
            let text = print_spec(
                self.registry,
                self.import.host,
                &self.with_copied_paths(&groups),
            );
            let graph = self.parse_back(&text, &groups)?;
            if self.add_absent(&mut groups, &graph).await? {
                continue;
            }
            match plan_desired(
                self.registry,
                self.reader,
                graph.host(),
                desired_resources(&graph),
            )
            .await
            {
                Ok(plan) if plan.is_empty() => {
                    self.record_written(&groups);
                    return Ok(text);
                }
                Ok(plan) => return Err(ImportError::NotEmpty(Box::new(plan))),
                Err(PlanError::Problems(problems)) => {
                    for (address, problem) in problems {
                        self.drop_unrepresentable(&mut groups, &address, problem.to_string())?;
                    }
                }
                Err(PlanError::Observe(error)) => return Err(error.into()),
                Err(PlanError::Spec(errors)) => return Err(errors.into()),
            }
        }
    }

    /// Reads what was written as anybody would. Only the bytes beside the spec are not there yet: they are those of this host.
    fn parse_back(&self, text: &str, groups: &SpecSections) -> Result<Graph, SpecErrors> {
        let source = Arc::new(Source::new(self.import.path, text.to_owned()));
        let mut spec: Spec = decode(&source, self.registry)?;
        for resource in &mut spec.resources {
            let Address { kind, name } = &resource.address;
            let group = groups.get(kind.as_str());
            let exported = group.and_then(|group| group.resources.get(name.as_str()));
            let (Some(exported), Desired::Present(state)) = (exported, &mut resource.desired)
            else {
                continue;
            };
            if let (Desired::Present(written), Some(schema)) =
                (&exported.desired, self.schema(kind))
            {
                let state = Arc::make_mut(state);
                for (attribute, path) in path_attributes(&schema, written) {
                    state[attribute.name] = path.into();
                }
            }
        }
        Graph::build(spec, self.registry)
    }

    fn schema(&self, kind: &str) -> Option<Schema> {
        self.registry.get(kind).map(DynProvider::schema)
    }

    /// What a resource brings with it, and what this host does not have, is said not to be there.
    async fn add_absent(
        &self,
        groups: &mut SpecSections,
        graph: &Graph,
    ) -> Result<bool, ObserveError> {
        let implied = graph.resources().filter(|resource| {
            let absence = self
                .schema(&resource.address.kind)
                .map(|schema| schema.absence);
            resource.implied_by.is_some()
                && resource.desired != Desired::Absent
                && absence == Some(Absence::Allowed)
        });
        let implied: Vec<_> = implied.collect();
        let addresses = implied.iter().map(|resource| &resource.address);
        let observed = observe(self.registry, self.reader, addresses).await?;
        let mut is_any = false;
        for resource in implied {
            let Address { kind, name } = &resource.address;
            let (Some(None), Some(by)) = (observed.get(&resource.address), &resource.implied_by)
            else {
                continue;
            };
            let group = groups.entry(kind.to_string()).or_default();
            let note = format!("{by} would add it; this host does not have it");
            let exported = PrintedResource {
                desired: Desired::Absent,
                notes: vec![note],
            };
            group.resources.insert(name.to_string(), exported);
            is_any = true;
        }
        Ok(is_any)
    }

    /// Takes away what `existing` says already.
    async fn drop_declared(&mut self, groups: &mut SpecSections) {
        if self.import.existing.is_none() {
            return;
        }
        for (kind, group) in &mut *groups {
            let Some(provider) = self.registry.get(kind) else {
                continue;
            };
            let schema = provider.schema();
            let mut unsaid = BTreeMap::new();
            for (name, exported) in std::mem::take(&mut group.resources) {
                let said = self
                    .declared
                    .get(&Address::new(kind, &name))
                    .cloned()
                    .flatten();
                let is = match (&exported.desired, said) {
                    (Desired::Present(state), Some(said)) => {
                        let state = provider
                            .prepare(self.reader, &name, State::clone(state))
                            .await;
                        state.is_ok_and(|state| {
                            declares(
                                Some(&said),
                                &serde_json::json!(compared_attributes(&schema, &state)),
                            )
                        })
                    }
                    _ => false,
                };
                if is {
                    let kind = self.coverage.kind_mut(kind);
                    kind.managed.remove(&name);
                    kind.ignore("already declared by the spec", name.as_str());
                } else {
                    unsaid.insert(name, exported);
                }
            }
            group.resources = unsaid;
        }
    }

    /// Gives up on one resource: it is named as what could not be said.
    fn drop_unrepresentable(
        &mut self,
        groups: &mut SpecSections,
        address: &Address,
        why: String,
    ) -> Result<(), ImportError> {
        let Address { kind, name } = address;
        let group = groups.get_mut(kind.as_str());
        let dropped = group.and_then(|group| group.resources.remove(name.as_str()));
        if dropped.is_none() {
            // Something that is brought along cannot be: whoever brings it is at fault, and that is for the reader to see.
            let problem = Problem::new(why);
            let errors = ObserveError::Provider(vec![ProviderError::new(
                address.clone(),
                "plan it",
                problem,
            )]);
            return Err(errors.into());
        }
        let coverage = self.coverage.kind_mut(kind);
        coverage.managed.remove(name.as_str());
        coverage.unreadable.insert(name.to_string(), why);
        Ok(())
    }

    /// Returns the groups with the places beside the spec instead of those on this host.
    fn with_copied_paths(&self, groups: &SpecSections) -> SpecSections {
        let mut groups = groups.clone();
        for (kind, group) in &mut groups {
            let Some(schema) = self.schema(kind) else {
                continue;
            };
            for exported in group.resources.values_mut() {
                if let Desired::Present(state) = &mut exported.desired {
                    let paths: Vec<_> = path_attributes(&schema, state)
                        .map(|(attribute, path)| (attribute.name, self.copied_path(path)))
                        .collect();
                    let state = Arc::make_mut(state);
                    for (attribute, place) in paths {
                        state[attribute] = place.into();
                    }
                }
            }
        }
        groups
    }

    fn copied_path(&self, path: &str) -> String {
        let dir = self.import.files_dir.unwrap_or_default();
        format!("{dir}/{}", path.trim_start_matches('/'))
    }

    /// Remembers what was written.
    fn record_written(&mut self, groups: &SpecSections) {
        for (kind, group) in groups {
            self.resources += group.resources.len();
            let schema = self.schema(kind);
            for exported in group.resources.values() {
                if let (Desired::Present(state), Some(schema)) = (&exported.desired, &schema) {
                    let sources = path_attributes(schema, state).map(|(_, path)| CopiedSource {
                        from: path.into(),
                        to: self.copied_path(path).into(),
                    });
                    let sources: Vec<_> = sources.collect();
                    self.sources.extend(sources);
                }
            }
        }
    }
}
