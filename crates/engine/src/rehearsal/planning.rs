//! What of a spec can be tried on a clone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    model::address::Address,
    plan::{
        dependencies::Dependencies,
        document::{DesiredResource, Plan, PlanError, Reason, Scope},
        planner::plan_desired,
    },
    provider::{host::Host, registry::Registry},
    rehearsal::report::Skipped,
};

/// What of a spec can be tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RehearsalPlan {
    /// The plan of it.
    pub plan: Plan,
    /// What cannot be had here, each with the reason.
    pub refused: Vec<Skipped>,
    /// What a clone cannot do, and what needs something that is left out; each with the reason.
    pub left_out: Vec<Skipped>,
}

impl RehearsalPlan {
    /// Says what is not as it is wanted: what the plan still has to change, and what cannot be had here.
    pub fn pending(&self) -> Vec<Skipped> {
        let changes = self.plan.changes.iter().map(|planned| Skipped {
            address: planned.address.clone(),
            why: match (planned.change.before(), planned.change.after()) {
                (None, _) => "does not exist".to_owned(),
                (_, None) => "still exists".to_owned(),
                _ => "differs from the spec".to_owned(),
            },
        });
        changes.chain(self.refused.iter().cloned()).collect()
    }
}

/// Plans what can be tried on a clone, with an init or without one, of what is not left out already. What cannot is left out, with all that
/// needs it; then the plan is one of a part.
///
/// # Errors
/// If the host cannot be read.
pub async fn plan_rehearsal<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    (host, wanted): (&str, Vec<DesiredResource>),
    known: &[Skipped],
    has_init: bool,
) -> Result<RehearsalPlan, PlanError> {
    let wanted = without_skipped(wanted, known);
    let mut rehearsal = plan_possible(registry, reader, host, wanted, has_init).await?;
    if !(known.is_empty() && rehearsal.left_out.is_empty() && rehearsal.refused.is_empty()) {
        rehearsal.plan = rehearsal.plan.with_scope(Scope::Part);
    }
    Ok(rehearsal)
}

async fn plan_possible<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    mut wanted: Vec<DesiredResource>,
    has_init: bool,
) -> Result<RehearsalPlan, PlanError> {
    let mut refused: Vec<Skipped> = vec![];
    let mut skipped: Vec<Skipped> = vec![];
    if !has_init {
        let needs_init = |wanted: &&DesiredResource| {
            let kind = registry.provider_of(&wanted.address);
            kind.is_ok_and(|kind| kind.schema().lifecycle.needs_init)
        };
        let without_init = wanted.iter().filter(needs_init).map(|wanted| Skipped {
            address: wanted.address.clone(),
            why: "the clone has no init".to_owned(),
        });
        skipped.extend(without_init);
        let names = skipped.iter().map(|left| left.address.clone()).collect();
        skipped.extend(dependents(&wanted, &names));
        wanted = without_skipped(wanted, &skipped);
    }
    loop {
        let plan = match plan_desired(registry, reader, host, wanted.clone()).await {
            Ok(plan) => Some(plan),
            Err(PlanError::Problems(problems)) => {
                refused.extend(problems.into_iter().map(|(address, problem)| Skipped {
                    address,
                    why: problem.to_string(),
                }));
                None
            }
            Err(error) => return Err(error),
        };
        let beyond = plan
            .iter()
            .flat_map(|plan| &plan.changes)
            .filter_map(|planned| {
                let kind = registry.provider_of(&planned.address).ok()?;
                let kind = kind.footprint()?;
                let why = kind.blocks_rehearsal(&planned.address.name, &planned.change)?;
                Some(Skipped {
                    address: planned.address.clone(),
                    why: why.to_owned(),
                })
            });
        let beyond: Vec<_> = beyond.collect();
        if let (Some(plan), true) = (plan, beyond.is_empty()) {
            return Ok(RehearsalPlan {
                plan,
                refused,
                left_out: skipped,
            });
        }
        skipped.extend(beyond);
        let all = refused.iter().chain(&skipped);
        let names: BTreeSet<Address> = all.map(|left| left.address.clone()).collect();
        skipped.extend(dependents(&wanted, &names));
        wanted = without_skipped(wanted, &[&refused[..], &skipped[..]].concat());
    }
}

/// Returns what is wanted without what is left out.
fn without_skipped(mut wanted: Vec<DesiredResource>, skipped: &[Skipped]) -> Vec<DesiredResource> {
    let is_left = |address: &Address| skipped.iter().any(|left| left.address == *address);
    wanted.retain(|wanted| !is_left(&wanted.address));
    wanted
}

/// Names what needs something that is left out, or comes only with it.
fn dependents(wanted: &[DesiredResource], names: &BTreeSet<Address>) -> Vec<Skipped> {
    let needs = Dependencies::new(wanted);
    let follower = |wanted: &DesiredResource| {
        if names.contains(&wanted.address) {
            return None;
        }
        let brought = match &wanted.reason {
            Reason::Implied { by, .. } => names.get(by),
            _ => None,
        };
        let needed = names
            .iter()
            .find(|name| needs.depends_on_any(&wanted.address, |need| need == *name));
        let name = brought.or(needed)?;
        Some(Skipped {
            address: wanted.address.clone(),
            why: format!("it needs {name}"),
        })
    };
    wanted.iter().filter_map(follower).collect()
}
