//! `stead watch`: the service, and the single pass that the other hooks run.

pub(crate) mod daemon;
mod metrics;
pub(crate) mod systemd_notify;

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use nix::sys::prctl;
use stead_engine::{
    drift::explain::explain,
    history::{runs::committed, stage::Stage, state_dir::StateFolder},
    plan::document::{Plan, PlanError, Scope},
    run::{
        confirm::Confirm,
        recover::{Newest, Persistence},
    },
    watch::planning::{plan_what_can_be, runtime},
};
use stead_resources::is_left_to_watch;

use crate::{
    args::{Consent, Watch},
    context::Session,
    error::Failure,
    exit::Exit,
    render,
    run::executor::Bench,
};

/// How long another run is waited for: it may be the one that made the hook run.
const PATIENCE: Duration = Duration::from_mins(15);
/// The program of this process, even if another stands in its place by now.
const SELF: &str = "/proc/self/exe";

/// Brings back what was applied and is so no more, as far as reboots and programs overwrite it. Everything else stays as it is.
pub(crate) fn watch(session: &Session, args: &Watch) -> Result<Exit, Failure> {
    if args.once {
        return watch_once(session, args);
    }
    session.must_be_root("watch")?;
    without_huge_pages();
    daemon::stand_guard(session, args)
}

/// Begins this program anew without huge pages: by those a plan is faster, and one of them is more than all that the watch needs.
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes another; it runs none beside it"
)]
fn without_huge_pages() {
    // Where the kernel has none or does not tell, and if it cannot begin anew, the watch goes on as it is.
    if prctl::get_thp_disable() == Ok(false) && prctl::set_thp_disable(true).is_ok() {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "stead".into());
        drop(Command::new(SELF).arg0(name).args(arguments).exec());
    }
}

/// Looks once. It looks before it takes the lock, so that a hook that finds nothing stands in nobody's way.
fn watch_once(session: &Session, args: &Watch) -> Result<Exit, Failure> {
    session.must_be_root("watch --once")?;
    if let Some(reason) = &args.because
        && session.confined(async |_, reader| is_left_to_watch(reader, reason).await)?
    {
        render::message("stead-watch.service is active and restores it.\n");
        return Ok(Exit::Done);
    }
    let state = StateFolder::at(&session.state);
    match Newest::find(&state)?.map(|newest| newest.stage) {
        Some(Stage::Pending(_)) => {
            render::message(
                "The latest run waits to be confirmed; nothing is restored until then.\n",
            );
            return Ok(Exit::Done);
        }
        None | Some(Stage::Ended(_)) if overwritten(session, &state)?.is_none() => {
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let bench = Bench::set_up_within(session, args.json, PATIENCE)?;
    if let Some(outcome) = bench.recover(Persistence::TriesAgain)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let Some(plan) = overwritten(session, &state)? else {
        return Ok(Exit::Done);
    };
    let consent = Consent {
        yes: true,
        json: args.json,
        confirm: Some(Confirm::Off),
        allow_irreversible: true,
    };
    bench.carry_out(&plan, &consent)
}

/// Plans to bring back what has been overwritten; `None` if nothing has.
fn overwritten(session: &Session, state: &StateFolder) -> Result<Option<Plan>, Failure> {
    let Some((host, wanted)) = committed(state)? else {
        render::message("Nothing has been applied on this host yet.\n");
        return Ok(None);
    };
    let wanted = runtime(&session.registry, wanted);
    let plan = session.confined(async |registry, reader| {
        stead_resources::wait_until_settled(reader).await;
        let say = |left_out: &str| render::message(left_out);
        let plan = plan_what_can_be(registry, reader, &host, wanted, say).await?;
        Ok::<_, PlanError>(explain(registry, reader, state, plan).await)
    })??;
    if plan.is_empty() {
        render::message("Nothing has been overwritten.\n");
        return Ok(None);
    }
    Ok(Some(plan.scoped(Scope::Restore)))
}
