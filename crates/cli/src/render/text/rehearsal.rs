//! The report of a rehearsal as text.

use std::time::Duration;

use stead_engine::{
    history::journal::Outcome,
    rehearsal::report::{Fault, LeftOut, Moved, Reboot, Rehearsal, Step},
};

use crate::render::{
    format::{bytes, took},
    print::{line, paint},
    text::outcome::outcome,
};

/// How many files are named for one step; the rest is counted.
const SHOWN: usize = 10;

/// Shows everything that was seen.
pub(crate) fn rehearsal(report: &Rehearsal) -> String {
    let mut text = String::new();
    let memory = report
        .memory
        .map(|memory| format!(", with {} of memory", bytes(memory)));
    line(
        &mut text,
        format_args!(
            "The clone was up after {}{}.",
            milliseconds(report.up_ms),
            memory.unwrap_or_default()
        ),
    );
    for difference in &report.differences {
        line(
            &mut text,
            format_args!("{} {difference}", paint::warning("note:")),
        );
    }
    for left in &report.refused {
        left_out(&mut text, &paint::error("refused:"), left);
    }
    for left in &report.left_out {
        left_out(&mut text, &paint::warning("not rehearsed:"), left);
    }
    for done in &report.steps {
        step(&mut text, done);
    }
    unplanned(&mut text, report);
    if !report.restarts.is_empty() {
        line(
            &mut text,
            format_args!("Restarted: {}", report.restarts.join(", ")),
        );
    }
    match &report.outcome {
        None => line(&mut text, format_args!("There was nothing to change.")),
        Some(Outcome::Done { .. }) => {}
        Some(ended) => text.push_str(&outcome(ended)),
    }
    if report.is_applied() {
        pending(&mut text, "A second plan", &report.pending);
    }
    if let Some(seen) = &report.reboot {
        reboot(&mut text, seen);
    }
    for fault in &report.faults {
        killed(&mut text, fault);
    }
    let verdict = if report.holds() {
        "Rehearsal passed; this host is unchanged."
    } else {
        "Rehearsal failed; this host is unchanged."
    };
    line(&mut text, format_args!("{verdict}"));
    text
}

fn left_out(text: &mut String, word: &str, left: &LeftOut) {
    line(text, format_args!("{word} {}: {}", left.address, left.why));
}

fn step(text: &mut String, step: &Step) {
    let names: Vec<String> = step.addresses.iter().map(ToString::to_string).collect();
    let sign = if step.is_done { "done" } else { "FAILED" };
    let memory = step.memory.map(|memory| format!(", {}", bytes(memory)));
    line(
        text,
        format_args!(
            "  {sign}  {} ({}{})",
            names.join(", "),
            milliseconds(step.ms),
            memory.unwrap_or_default()
        ),
    );
    for moved in step.files.iter().take(SHOWN) {
        line(text, format_args!("        also {}", change(moved)));
    }
    if step.files.len() > SHOWN {
        let more = step.files.len() - SHOWN;
        line(
            text,
            format_args!("        and {more} more; `--json` names them"),
        );
    }
}

fn unplanned(text: &mut String, report: &Rehearsal) {
    if report.unplanned.is_empty() {
        return;
    }
    line(text, format_args!("Changed although not in the plan:"));
    for moved in report.unplanned.iter().take(3 * SHOWN) {
        line(text, format_args!("  {}", change(moved)));
    }
    if report.unplanned.len() > 3 * SHOWN {
        let more = report.unplanned.len() - 3 * SHOWN;
        line(text, format_args!("  and {more} more; `--json` names them"));
    }
}

fn change(moved: &Moved) -> String {
    let Moved {
        name,
        before,
        after,
    } = moved;
    match (before, after) {
        (None, Some(after)) => format!("{name}: {after}"),
        (Some(before), None) => format!("{name}: gone, it was {before}"),
        (before, after) => format!(
            "{name}: {} → {}",
            before.as_deref().unwrap_or_default(),
            after.as_deref().unwrap_or_default()
        ),
    }
}

fn pending(text: &mut String, subject: &str, pending: &[LeftOut]) {
    if pending.is_empty() {
        line(text, format_args!("{subject} is empty."));
        return;
    }
    line(text, format_args!("{subject} is not empty:"));
    for left in pending {
        line(text, format_args!("  {}: {}", left.address, left.why));
    }
}

fn reboot(text: &mut String, reboot: &Reboot) {
    line(
        text,
        format_args!(
            "The clone was up {} after a reboot.",
            milliseconds(reboot.up_ms)
        ),
    );
    if let Some(settled) = reboot.settled_ms.filter(|_| !reboot.came_back.is_empty()) {
        let names: Vec<String> = reboot.came_back.iter().map(ToString::to_string).collect();
        line(
            text,
            format_args!(
                "  restored within {}: {}",
                milliseconds(settled),
                names.join(", ")
            ),
        );
    }
    if reboot.lost.is_empty() {
        line(text, format_args!("The plan after the reboot is empty."));
    } else {
        pending(text, "The plan after the reboot", &reboot.lost);
    }
}

fn killed(text: &mut String, fault: &Fault) {
    let names: Vec<String> = fault.addresses.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    if fault.is_clean() {
        line(
            text,
            format_args!("Killed in {names}: rolled back completely."),
        );
        return;
    }
    line(
        text,
        format_args!("Killed in {names}: {}", paint::error("not rolled back:")),
    );
    if let Some(fault) = &fault.fault {
        line(text, format_args!("  {fault}"));
    }
    for moved in &fault.left {
        line(text, format_args!("  {}", change(moved)));
    }
}

/// Writes milliseconds as people read them.
fn milliseconds(ms: u64) -> String {
    took(Duration::from_millis(ms))
}
