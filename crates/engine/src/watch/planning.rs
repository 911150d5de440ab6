//! What is restored: what was applied, of kinds that others overwrite, as far as this host can have it now.

use crate::{
    model::address::Address,
    plan::{
        document::{DesiredResource, Plan, PlanError},
        planner::plan_desired,
    },
    provider::{host::Host, registry::Registry},
};

/// Keeps what reboots and programs overwrite.
pub fn runtime_resources<H: Host>(
    registry: &Registry<H>,
    mut wanted: Vec<DesiredResource>,
) -> Vec<DesiredResource> {
    wanted.retain(|wanted| {
        let kind = registry.provider_of(&wanted.address);
        kind.is_ok_and(|kind| kind.schema().lifecycle.is_runtime)
    });
    wanted
}

/// Returns what makes a planned change due when it moves, of all that is watched: arguments, for a restart.
pub fn restart_inputs<H: Host>(
    registry: &Registry<H>,
    plan: &Plan,
    address: &Address,
    watched: &[DesiredResource],
) -> Vec<Address> {
    let mut changes = plan.changes.iter();
    let planned = changes.find(|planned| planned.address == *address);
    let before = planned.and_then(|planned| planned.change.before());
    let needs = watched.iter().find(|wanted| wanted.address == *address);
    let (Some(before), Some(needs), Ok(kind)) = (before, needs, registry.provider_of(address))
    else {
        return vec![];
    };
    let Some(kind) = kind.reactive() else {
        return vec![];
    };
    let triggers = |need: &&Address| {
        kind.after_dependency_change(&address.name, before, &[need])
            .is_some()
    };
    let is_watched = |need: &&Address| watched.iter().any(|wanted| wanted.address == **need);
    let inputs = needs.needs.iter().filter(is_watched).filter(triggers);
    inputs.cloned().collect()
}

/// Plans without what this host cannot have just now, such as arguments of a MicroK8s that somebody stopped: the rest counts.
pub async fn plan_possible<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    mut wanted: Vec<DesiredResource>,
    mut report: impl FnMut(&str),
) -> Result<Plan, PlanError> {
    loop {
        match plan_desired(registry, reader, host, wanted.clone()).await {
            Err(PlanError::Problems(problems)) => {
                for (address, problem) in &problems {
                    report(&format!("{address} is skipped: {problem}\n"));
                }
                wanted.retain(|wanted| {
                    !problems
                        .iter()
                        .any(|(address, _)| *address == wanted.address)
                });
            }
            planned => return planned,
        }
    }
}
