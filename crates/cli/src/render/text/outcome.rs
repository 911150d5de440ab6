//! The outcomes of runs.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use stead_engine::{
    history::{
        journal::{Outcome, Residue, RetryState},
        runs::Run,
        stage::Stage,
    },
    plan::{
        cause::Cause,
        document::{Plan, Scope},
    },
};

use crate::{
    exit::Exit,
    render::{
        format::escape_control,
        print::{push_line, style},
        terminal::wrap_for_stdout,
    },
};

/// Says how a run ended.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { run } => {
            format!("Applied and verified (run {run}). Undo with `stead undo {run}`.\n")
        }
        Outcome::Pending { run, until } => format!(
            "{} Run {run} waits for `stead confirm`; `stead revert` rolls it back now.\n\
             Without either it is rolled back at {}.\n",
            style::bold("Applied and verified, not confirmed yet."),
            format_time(*until)
        ),
        Outcome::Failed {
            run,
            cause,
            restored,
        }
        | Outcome::NotConfirmed {
            run,
            cause,
            restored,
        }
        | Outcome::CheckFailed {
            run,
            cause,
            restored,
        } => {
            let back = match restored.len() {
                0 => String::new(),
                1 => " (1 resource)".to_owned(),
                count => format!(" ({count} resources)"),
            };
            format!(
                "{}{} to the state before run {run}{back}.\n",
                causes(*run, cause),
                style::bold("Rolled back")
            )
        }
        Outcome::Residue {
            run,
            cause,
            residue,
            ..
        } => {
            let mut text = causes(*run, cause);
            push_line(
                &mut text,
                format_args!(
                    "{} not everything could be rolled back:",
                    style::error("residue:")
                ),
            );
            residues(&mut text, residue);
            text + &format!(
                "  {} fix these by hand; `stead show {run}` shows the states before the run\n",
                style::help("help:")
            )
        }
        Outcome::Stale { addresses } => {
            let mut text = format!(
                "{} the host has changed since the plan was made\n",
                style::error("error:")
            );
            for address in addresses {
                push_line(
                    &mut text,
                    format_args!("  {}", escape_control(&address.to_string())),
                );
            }
            text + &format!("  {} nothing was done; plan again\n", style::help("help:"))
        }
    }
}

/// Says that a run is being rolled back, and what is not restored yet.
pub(crate) fn rolling_back(run: u64, stage: Option<&Stage>) -> String {
    let mut text = format!(
        "{} run {run} is being rolled back\n",
        style::error("error:")
    );
    if let Some(Stage::RollingBack { cause, retry, .. }) = stage {
        push_line(&mut text, format_args!("  {}", escape_control(cause)));
        text += &retry.as_ref().map_or_else(String::new, pending_residue);
    }
    text
}

/// Says what a rollback has not restored yet.
pub(crate) fn pending_residue(left: &RetryState) -> String {
    let mut text = format!(
        "{} not everything is restored yet; the rollback is retried ({} {} so far):\n",
        style::warning("left:"),
        left.tries,
        if left.tries == 1 {
            "attempt"
        } else {
            "attempts"
        }
    );
    residues(&mut text, &left.residue);
    text + &format!(
        "  {} fix the cause, or end the rollback with `stead recover`\n",
        style::help("help:")
    )
}

fn residues(text: &mut String, residues: &[Residue]) {
    for residue in residues {
        let address = escape_control(&residue.address.to_string());
        push_line(
            text,
            format_args!("  {address}: {}", escape_control(&residue.reason)),
        );
    }
}

/// Shows a time.
pub(crate) fn format_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

fn causes(run: u64, cause: &[String]) -> String {
    let mut text = format!("{} run {run} failed\n", style::error("error:"));
    for reason in cause {
        let reason = wrap_for_stdout(&format!("  {}", escape_control(reason)));
        push_line(&mut text, format_args!("{reason}"));
    }
    text
}

/// Returns the code that the command of a run ended with, or would have if it had not been cut off; `None` before its end.
pub(crate) fn exit_code(run: &Run) -> Option<u8> {
    let ended = run.outcome.as_ref();
    ended
        .filter(|outcome| !matches!(outcome, Outcome::Pending { .. }))
        .map(|outcome| Exit::from(outcome) as u8)
}

/// Says in a word how a run ended.
pub(crate) fn outcome_word(run: &Run) -> &'static str {
    match &run.outcome {
        None if run.retry.is_some() => "rolling back",
        None => "not ended",
        Some(Outcome::Pending { .. }) => "not confirmed yet",
        Some(Outcome::NotConfirmed { .. }) => "not confirmed",
        Some(Outcome::Done { .. }) => "done",
        Some(Outcome::Failed { .. }) => "failed, rolled back",
        Some(Outcome::CheckFailed { .. }) => "check failed",
        Some(Outcome::Residue { .. }) => "failed, residue",
        Some(Outcome::Stale { .. }) => "stale, nothing done",
    }
}

/// Shows a run in one line of the history.
pub(crate) fn run_summary(run: &Run) -> String {
    let when = run
        .started
        .map_or_else(|| "never started".to_owned(), format_time);
    let ended = outcome_word(run);
    let what = run.plan.as_ref().map_or_else(String::new, |plan| {
        format!(
            "+{} ~{} -{}  {}",
            plan.summary.create,
            plan.summary.change,
            plan.summary.remove,
            escape_control(&plan.host)
        )
    });
    let undoes = run
        .undoes
        .map_or_else(String::new, |other| format!("  (undoes run {other})"));
    let exit = exit_code(run).map_or_else(|| "-".to_owned(), |exit| exit.to_string());
    let left = run.retry.as_ref().map_or_else(String::new, pending_residue);
    let because = run.plan.as_ref().map_or_else(String::new, restore_causes);
    format!(
        "{:>5}  {when:23}  {ended:19}  {exit}  {what}{undoes}{because}\n{left}",
        run.run
    )
}

/// Says who or what made a run of the hooks necessary, as far as that is known.
fn restore_causes(plan: &Plan) -> String {
    let causes = plan
        .changes
        .iter()
        .filter_map(|planned| planned.cause.as_ref());
    let names: BTreeSet<&str> = causes
        .filter_map(|cause| match cause {
            Cause::Reboot { .. } => Some("a reboot"),
            Cause::Actor { actor, .. } => Some(actor.as_str()),
            Cause::Manual { person, .. } => Some(person.as_str()),
            _ => None,
        })
        .collect();
    if plan.scope != Scope::Restore || names.is_empty() {
        return String::new();
    }
    let names: Vec<_> = names.into_iter().map(escape_control).collect();
    format!("  (caused by {})", names.join(", "))
}
