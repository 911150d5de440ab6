//! What of a spec can be tried on a clone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    model::address::Address,
    plan::{
        dependencies::Needs,
        document::{Because, Plan, PlanError, Scope, Wanted},
        planner::plan_wanted,
    },
    provider::{host::Host, registry::Registry},
    rehearsal::report::LeftOut,
};

/// What of a spec can be tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Possible {
    /// The plan of it.
    pub plan: Plan,
    /// What cannot be had here, each with the reason.
    pub refused: Vec<LeftOut>,
    /// What a clone cannot do, and what needs something that is left out; each with the reason.
    pub left_out: Vec<LeftOut>,
}

impl Possible {
    /// Says what is not as it is wanted: what the plan still has to change, and what cannot be had here.
    pub fn pending(&self) -> Vec<LeftOut> {
        let changes = self.plan.changes.iter().map(|planned| LeftOut {
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
    (host, wanted): (&str, Vec<Wanted>),
    known: &[LeftOut],
    has_init: bool,
) -> Result<Possible, PlanError> {
    let wanted = without(wanted, known);
    let mut possible = plan_possible(registry, reader, host, wanted, has_init).await?;
    if !(known.is_empty() && possible.left_out.is_empty() && possible.refused.is_empty()) {
        possible.plan = possible.plan.scoped(Scope::Part);
    }
    Ok(possible)
}

async fn plan_possible<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    host: &str,
    mut wanted: Vec<Wanted>,
    has_init: bool,
) -> Result<Possible, PlanError> {
    let mut refused: Vec<LeftOut> = vec![];
    let mut left_out: Vec<LeftOut> = vec![];
    if !has_init {
        let needs_init = |wanted: &&Wanted| {
            let kind = registry.of(&wanted.address);
            kind.is_ok_and(|kind| kind.schema().lifecycle.needs_init)
        };
        let without_init = wanted.iter().filter(needs_init).map(|wanted| LeftOut {
            address: wanted.address.clone(),
            why: "the clone has no init".to_owned(),
        });
        left_out.extend(without_init);
        let names = left_out.iter().map(|left| left.address.clone()).collect();
        left_out.extend(followers(&wanted, &names));
        wanted = without(wanted, &left_out);
    }
    loop {
        let plan = match plan_wanted(registry, reader, host, wanted.clone()).await {
            Ok(plan) => Some(plan),
            Err(PlanError::Problems(problems)) => {
                refused.extend(problems.into_iter().map(|(address, problem)| LeftOut {
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
                let kind = registry.of(&planned.address).ok()?;
                let kind = kind.footprint()?;
                let why = kind.blocks_rehearsal(&planned.address.name, &planned.change)?;
                Some(LeftOut {
                    address: planned.address.clone(),
                    why: why.to_owned(),
                })
            });
        let beyond: Vec<_> = beyond.collect();
        if let (Some(plan), true) = (plan, beyond.is_empty()) {
            return Ok(Possible {
                plan,
                refused,
                left_out,
            });
        }
        left_out.extend(beyond);
        let all = refused.iter().chain(&left_out);
        let names: BTreeSet<Address> = all.map(|left| left.address.clone()).collect();
        left_out.extend(followers(&wanted, &names));
        wanted = without(wanted, &[&refused[..], &left_out[..]].concat());
    }
}

/// Returns what is wanted without what is left out.
fn without(mut wanted: Vec<Wanted>, left_out: &[LeftOut]) -> Vec<Wanted> {
    let is_left = |address: &Address| left_out.iter().any(|left| left.address == *address);
    wanted.retain(|wanted| !is_left(&wanted.address));
    wanted
}

/// Names what needs something that is left out, or comes only with it.
fn followers(wanted: &[Wanted], names: &BTreeSet<Address>) -> Vec<LeftOut> {
    let needs = Needs::of(wanted);
    let follower = |wanted: &Wanted| {
        if names.contains(&wanted.address) {
            return None;
        }
        let brought = match &wanted.because {
            Because::Implied { by, .. } => names.get(by),
            _ => None,
        };
        let needed = names
            .iter()
            .find(|name| needs.is_any(&wanted.address, |need| need == *name));
        let name = brought.or(needed)?;
        Some(LeftOut {
            address: wanted.address.clone(),
            why: format!("it needs {name}"),
        })
    };
    wanted.iter().filter_map(follower).collect()
}
