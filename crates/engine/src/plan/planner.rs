//! Planning: the desired state of a spec compared with the host, in the order of the apply.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    language::{
        error::{SpecError, SpecErrors},
        spec::Resource,
    },
    model::address::Address,
    plan::{
        dependencies::Dependencies,
        diff::observe_and_diff,
        document::{DesiredResource, Plan, PlanError, Reason},
        graph::Graph,
    },
    provider::{host::Host, registry::Registry},
};

/// Plans a spec on the host that `reader` reads. Writes nothing.
///
/// # Errors
/// What the host says the spec cannot have, all of it; or what could not be read.
pub async fn plan<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    graph: &Graph,
) -> Result<Plan, PlanError> {
    let resources: BTreeMap<&Address, &Resource> = graph
        .resources()
        .map(|resource| (&resource.address, resource))
        .collect();
    plan_desired(registry, reader, graph.host(), desired_resources(graph))
        .await
        .map_err(|error| match error {
            PlanError::Problems(problems) => PlanError::Spec(SpecErrors(
                problems
                    .into_iter()
                    .map(|(address, problem)| SpecError::from_problem(resources[&address], problem))
                    .collect(),
            )),
            other => other,
        })
}

/// Returns what a spec wants, in the order of its plan.
pub fn desired_resources(graph: &Graph) -> Vec<DesiredResource> {
    let wanted = graph.with_needs().map(|(resource, needs)| DesiredResource {
        needs: needs.into_iter().cloned().collect(),
        ..DesiredResource::from(resource)
    });
    wanted.collect()
}

/// Plans what is wanted, in its order, where there may be no spec at hand.
///
/// # Errors
/// As [`plan`], but without places.
pub async fn plan_desired<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    wanted: Vec<DesiredResource>,
) -> Result<Plan, PlanError> {
    let (readings, mut comparison) = observe_and_diff(registry, reader, &wanted).await?;
    if !comparison.changes.is_empty() {
        comparison.changes = Dependencies::new(&wanted).with_irreversible_last(comparison.changes);
    }
    Ok(Plan::new(host.to_owned(), wanted, comparison, readings))
}

impl From<&Resource> for DesiredResource {
    fn from(resource: &Resource) -> Self {
        let file = Arc::clone(&resource.span.source.path);
        let line = resource.span.line();
        Self {
            address: resource.address.clone(),
            desired: resource.desired.clone(),
            needs: vec![],
            reason: match resource.implied_by.clone() {
                None => Reason::Spec { file, line },
                Some(by) => Reason::Implied { by, file, line },
            },
        }
    }
}
