//! The report of a rehearsal as text.

use std::time::Duration;

use stead_engine::{
    history::journal::Outcome,
    rehearsal::report::{Difference, KillTest, Reboot, Rehearsal, Skipped, Step},
};

use crate::render::{
    format::{format_bytes, format_duration},
    print::{push_line, style},
    text::outcome::outcome,
};

/// How many files are named for one step; the rest is counted.
const MAX_FILES: usize = 10;

/// Shows everything that was seen.
pub(crate) fn rehearsal(report: &Rehearsal) -> String {
    let mut text = String::new();
    let memory = report
        .memory
        .map(|memory| format!(", with {} of memory", format_bytes(memory)));
    push_line(
        &mut text,
        format_args!(
            "The clone was up after {}{}.",
            format_ms(report.up_ms),
            memory.unwrap_or_default()
        ),
    );
    for difference in &report.differences {
        push_line(
            &mut text,
            format_args!("{} {difference}", style::warning("note:")),
        );
    }
    for left in &report.refused {
        skipped(&mut text, &style::error("refused:"), left);
    }
    for left in &report.left_out {
        skipped(&mut text, &style::warning("not rehearsed:"), left);
    }
    for done in &report.steps {
        step(&mut text, done);
    }
    unplanned(&mut text, report);
    if !report.restarts.is_empty() {
        push_line(
            &mut text,
            format_args!("Restarted: {}", report.restarts.join(", ")),
        );
    }
    match &report.outcome {
        None => push_line(&mut text, format_args!("There was nothing to change.")),
        Some(Outcome::Done { .. }) => {}
        Some(ended) => text.push_str(&outcome(ended)),
    }
    if report.is_applied() {
        pending(&mut text, "A second plan", &report.pending);
    }
    if let Some(seen) = &report.reboot {
        reboot(&mut text, seen);
    }
    for fault in &report.kill_tests {
        kill_test(&mut text, fault);
    }
    let verdict = if report.succeeded() {
        "Rehearsal passed; this host is unchanged."
    } else {
        "Rehearsal failed; this host is unchanged."
    };
    push_line(&mut text, format_args!("{verdict}"));
    text
}

fn skipped(text: &mut String, word: &str, left: &Skipped) {
    push_line(text, format_args!("{word} {}: {}", left.address, left.why));
}

fn step(text: &mut String, step: &Step) {
    let names: Vec<String> = step.addresses.iter().map(ToString::to_string).collect();
    let sign = if step.is_done { "done" } else { "FAILED" };
    let memory = step
        .memory
        .map(|memory| format!(", {}", format_bytes(memory)));
    push_line(
        text,
        format_args!(
            "  {sign}  {} ({}{})",
            names.join(", "),
            format_ms(step.ms),
            memory.unwrap_or_default()
        ),
    );
    for moved in step.files.iter().take(MAX_FILES) {
        push_line(text, format_args!("        also {}", change(moved)));
    }
    if step.files.len() > MAX_FILES {
        let more = step.files.len() - MAX_FILES;
        push_line(
            text,
            format_args!("        and {more} more; `--json` names them"),
        );
    }
}

fn unplanned(text: &mut String, report: &Rehearsal) {
    if report.unplanned.is_empty() {
        return;
    }
    push_line(text, format_args!("Changed although not in the plan:"));
    for moved in report.unplanned.iter().take(3 * MAX_FILES) {
        push_line(text, format_args!("  {}", change(moved)));
    }
    if report.unplanned.len() > 3 * MAX_FILES {
        let more = report.unplanned.len() - 3 * MAX_FILES;
        push_line(text, format_args!("  and {more} more; `--json` names them"));
    }
}

fn change(moved: &Difference) -> String {
    let Difference {
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

fn pending(text: &mut String, subject: &str, pending: &[Skipped]) {
    if pending.is_empty() {
        push_line(text, format_args!("{subject} is empty."));
        return;
    }
    push_line(text, format_args!("{subject} is not empty:"));
    for left in pending {
        push_line(text, format_args!("  {}: {}", left.address, left.why));
    }
}

fn reboot(text: &mut String, reboot: &Reboot) {
    push_line(
        text,
        format_args!(
            "The clone was up {} after a reboot.",
            format_ms(reboot.up_ms)
        ),
    );
    if let Some(settled) = reboot.settled_ms.filter(|_| !reboot.restored.is_empty()) {
        let names: Vec<String> = reboot.restored.iter().map(ToString::to_string).collect();
        push_line(
            text,
            format_args!(
                "  restored within {}: {}",
                format_ms(settled),
                names.join(", ")
            ),
        );
    }
    if reboot.lost.is_empty() {
        push_line(text, format_args!("The plan after the reboot is empty."));
    } else {
        pending(text, "The plan after the reboot", &reboot.lost);
    }
}

fn kill_test(text: &mut String, fault: &KillTest) {
    let names: Vec<String> = fault.addresses.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    if fault.is_clean() {
        push_line(
            text,
            format_args!("Killed in {names}: rolled back completely."),
        );
        return;
    }
    push_line(
        text,
        format_args!("Killed in {names}: {}", style::error("not rolled back:")),
    );
    if let Some(fault) = &fault.error {
        push_line(text, format_args!("  {fault}"));
    }
    for moved in &fault.differences {
        push_line(text, format_args!("  {}", change(moved)));
    }
}

/// Writes milliseconds as people read them.
fn format_ms(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}
