//! What is restored: what was applied, of kinds that others overwrite, as far as this host can have it now.

use crate::{
    model::address::Address,
    plan::{
        document::{Plan, PlanError, Wanted},
        planner::plan_wanted,
    },
    provider::{host::Host, registry::Registry},
};

/// Keeps what reboots and programs overwrite.
pub fn runtime<H: Host>(registry: &Registry<H>, mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    wanted.retain(|wanted| {
        let kind = registry.of(&wanted.address);
        kind.is_ok_and(|kind| kind.schema().lifecycle.is_runtime)
    });
    wanted
}

/// Returns what makes a planned change due when it moves, of all that is watched: arguments, for a restart.
pub fn feeding<H: Host>(
    registry: &Registry<H>,
    plan: &Plan,
    address: &Address,
    watched: &[Wanted],
) -> Vec<Address> {
    let mut changes = plan.changes.iter();
    let planned = changes.find(|planned| planned.address == *address);
    let before = planned.and_then(|planned| planned.change.before());
    let needs = watched.iter().find(|wanted| wanted.address == *address);
    let (Some(before), Some(needs), Ok(kind)) = (before, needs, registry.of(address)) else {
        return vec![];
    };
    let Some(kind) = kind.reactive() else {
        return vec![];
    };
    let feeds = |need: &&Address| {
        kind.after_dependency_change(&address.name, before, &[need])
            .is_some()
    };
    let is_watched = |need: &&Address| watched.iter().any(|wanted| wanted.address == **need);
    let fed = needs.needs.iter().filter(is_watched).filter(feeds);
    fed.cloned().collect()
}

/// Plans without what this host cannot have just now, such as arguments of a MicroK8s that somebody stopped: the rest counts.
pub async fn plan_what_can_be<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    mut wanted: Vec<Wanted>,
    mut say: impl FnMut(&str),
) -> Result<Plan, PlanError> {
    loop {
        match plan_wanted(registry, reader, host, wanted.clone()).await {
            Err(PlanError::Problems(problems)) => {
                for (address, problem) in &problems {
                    say(&format!("{address} is skipped: {problem}\n"));
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
