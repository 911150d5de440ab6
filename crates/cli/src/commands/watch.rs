//! `stead watch`: what the hooks run.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use stead_engine::{
    history::committed,
    plan::{Plan, PlanError, Scope, Wanted, plan_wanted},
    recover::interrupted,
    registry::{Kind, Registry},
    state_folder::StateFolder,
};
use stead_resources::host::{Live, Reader};

use super::apply::{Bench, exit, is_residue};
use crate::{
    args::{Consent, Watch},
    exit::Exit,
    failure::Failure,
    render,
    session::Session,
};

/// How long another run is waited for: it may be the one that made the hook run.
const PATIENCE: Duration = Duration::from_mins(15);
/// How often it is looked whether it has ended.
const PAUSE: Duration = Duration::from_millis(500);

/// Brings back what was applied and is so no more, as far as reboots and programs overwrite it. Everything else stays as it is.
/// It looks before it takes the lock, so that a hook that finds nothing stands in nobody's way.
pub(crate) fn watch(session: &Session, args: &Watch) -> Result<Exit, Failure> {
    session.must_be_root("watch --once")?;
    let state = StateFolder::at(&session.state);
    let begun = interrupted(&state).map_err(|error| Failure::of(Exit::Failed, &error))?;
    if begun.is_none() && overwritten(session, &state)?.is_none() {
        return Ok(Exit::Done);
    }
    let mut bench = patiently(session, args.json)?;
    if let Some(outcome) = bench.recover()?
        && is_residue(&outcome)
    {
        return Ok(exit(&outcome));
    }
    let Some(plan) = overwritten(session, &state)? else {
        return Ok(Exit::Done);
    };
    let consent = Consent {
        yes: true,
        json: args.json,
    };
    bench.carry_out(&plan, &consent)
}

/// Plans to bring back what has been overwritten; `None` if nothing has.
fn overwritten(session: &Session, state: &StateFolder) -> Result<Option<Plan>, Failure> {
    let Some((host, wanted)) = committed(state)? else {
        render::message("Nothing was applied on this host yet.\n");
        return Ok(None);
    };
    let wanted: Vec<_> = wanted
        .into_iter()
        .filter(|wanted| {
            let kind = session.registry.of(&wanted.address);
            kind.is_ok_and(Kind::is_runtime)
        })
        .collect();
    let plan = session.confined(async |registry, reader| {
        stead_resources::wait_until_settled(reader).await;
        plan_what_can_be(registry, reader, &host, wanted).await
    })??;
    if plan.is_empty() {
        render::message("Nothing has been overwritten.\n");
        return Ok(None);
    }
    Ok(Some(plan.scoped(Scope::Restore)))
}

/// Plans without what this host cannot have just now, such as arguments of a MicroK8s that somebody stopped: the rest counts.
async fn plan_what_can_be(
    registry: &Registry<Live>,
    reader: &Reader,
    host: &str,
    mut wanted: Vec<Wanted>,
) -> Result<Plan, PlanError> {
    loop {
        match plan_wanted(registry, reader, host, wanted.clone()).await {
            Err(PlanError::Problems(problems)) => {
                for (address, problem) in &problems {
                    render::message(&format!("{address} is left out: {problem}\n"));
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

fn patiently(session: &Session, as_json: bool) -> Result<Bench<'_>, Failure> {
    let begin = Instant::now();
    loop {
        match Bench::set_up(session, as_json) {
            Err(failure) if failure.exit() == Exit::Locked && begin.elapsed() < PATIENCE => {
                sleep(PAUSE);
            }
            other => return other,
        }
    }
}
