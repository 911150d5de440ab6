//! `stead watch`: the service, and the single pass that the other hooks run.

pub(crate) mod daemon;
mod metrics;
pub(crate) mod systemd_notify;

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use nix::sys::prctl;
use stead_engine::{
    drift::explain::explain,
    history::{runs::committed, stage::Stage, state_dir::StateDir},
    plan::document::{Plan, PlanError, Scope},
    run::{
        confirm::Confirm,
        recover::{LatestRun, OnResidue},
    },
    watch::planning::{plan_possible, runtime_resources},
};
use stead_resources::defers_to_watch;

use crate::{
    args::{RunOptions, WatchArgs},
    context::Context,
    error::CommandError,
    exit::Exit,
    render,
    run::executor::LockedRunner,
};

/// How long another run is waited for: it may be the one that made the hook run.
const OTHER_RUN_TIMEOUT: Duration = Duration::from_mins(15);
/// The program of this process, even if another stands in its place by now.
const SELF_EXE: &str = "/proc/self/exe";

/// Brings back what was applied and is so no more, as far as reboots and programs overwrite it. Everything else stays as it is.
pub(crate) fn watch(context: &Context, args: &WatchArgs) -> Result<Exit, CommandError> {
    if args.once {
        return watch_once(context, args);
    }
    context.require_root("watch")?;
    disable_huge_pages();
    daemon::run_daemon(context, args)
}

/// Begins this program anew without huge pages: by those a plan is faster, and one of them is more than all that the watch needs.
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes another; it runs none beside it"
)]
fn disable_huge_pages() {
    // Where the kernel has none or does not tell, and if it cannot begin anew, the watch goes on as it is.
    if prctl::get_thp_disable() == Ok(false) && prctl::set_thp_disable(true).is_ok() {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "stead".into());
        drop(Command::new(SELF_EXE).arg0(name).args(arguments).exec());
    }
}

/// Looks once. It looks before it takes the lock, so that a hook that finds nothing stands in nobody's way.
fn watch_once(context: &Context, args: &WatchArgs) -> Result<Exit, CommandError> {
    context.require_root("watch --once")?;
    if let Some(reason) = &args.reason
        && context.run_read_only(async |_, reader| defers_to_watch(reader, reason).await)?
    {
        render::eprint_message("stead-watch.service is active and restores it.\n");
        return Ok(Exit::Done);
    }
    let state = StateDir::new(&context.state_dir);
    match LatestRun::load(&state)?.map(|newest| newest.stage) {
        Some(Stage::Pending(_)) => {
            render::eprint_message(
                "The latest run waits to be confirmed; nothing is restored until then.\n",
            );
            return Ok(Exit::Done);
        }
        None | Some(Stage::Ended(_)) if plan_overwritten(context, &state)?.is_none() => {
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let runner = LockedRunner::lock_within(context, args.json, OTHER_RUN_TIMEOUT)?;
    if let Some(outcome) = runner.recover(OnResidue::Retry)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let Some(plan) = plan_overwritten(context, &state)? else {
        return Ok(Exit::Done);
    };
    let options = RunOptions {
        yes: true,
        json: args.json,
        confirm: Some(Confirm::Off),
        allow_irreversible: true,
    };
    runner.execute(&plan, &options)
}

/// Plans to bring back what has been overwritten; `None` if nothing has.
fn plan_overwritten(context: &Context, state: &StateDir) -> Result<Option<Plan>, CommandError> {
    let Some((host, wanted)) = committed(state)? else {
        render::eprint_message("Nothing has been applied on this host yet.\n");
        return Ok(None);
    };
    let wanted = runtime_resources(&context.registry, wanted);
    let plan = context.try_run_read_only(async |registry, reader| {
        stead_resources::wait_until_settled(reader).await;
        let report = |left_out: &str| render::eprint_message(left_out);
        let plan = plan_possible(registry, reader, &host, wanted, report).await?;
        Ok::<_, PlanError>(explain(registry, reader, state, plan).await)
    })?;
    if plan.is_empty() {
        render::eprint_message("Nothing has been overwritten.\n");
        return Ok(None);
    }
    Ok(Some(plan.with_scope(Scope::Restore)))
}
