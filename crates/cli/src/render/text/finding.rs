//! The findings of `stead doctor` as text.

use stead_resources::doctor::finding::{DoctorReport, Finding, FindingRule};

use crate::render::{
    print::{push_line, style},
    terminal::wrap_for_stdout,
};

/// Shows all findings, and how many checks there were.
pub(crate) fn doctor_report(examination: &DoctorReport) -> String {
    let mut text = String::new();
    for found in &examination.findings {
        finding(&mut text, found);
    }
    let count = match examination.findings.len() {
        0 => "No problems found".to_owned(),
        1 => "1 problem found".to_owned(),
        count => format!("{count} problems found"),
    };
    let checks = match examination.findings.len() + examination.passed.len() {
        1 => "1 check".to_owned(),
        checks => format!("{checks} checks"),
    };
    push_line(&mut text, format_args!("{count} ({checks})."));
    for unseen in &examination.inconclusive {
        let note = style::warning("not checked:");
        push_line(
            &mut text,
            format_args!("{note} {}: {}", unseen.name, unseen.why),
        );
    }
    if examination
        .findings
        .iter()
        .any(|finding| !finding.spec.is_empty())
    {
        push_line(
            &mut text,
            format_args!("Run `stead doctor --show-fix` for a spec that fixes them, and its plan."),
        );
    }
    text
}

/// Shows the page of a finding.
pub(crate) fn finding_rule(rule: &FindingRule) -> String {
    let mut text = String::new();
    let name = style::bold(rule.name);
    push_line(&mut text, format_args!("{name}: {}", rule.fact));
    push_line(&mut text, format_args!("  checks       {}", rule.criterion));
    push_fix(&mut text, &rule.found(vec![]));
    text
}

fn finding(text: &mut String, finding: &Finding) {
    let name = style::error(finding.name);
    let fact = wrap_for_stdout(&format!("{name}: {}", finding.fact));
    push_line(text, format_args!("{fact}"));
    for seen in &finding.evidence {
        let seen = wrap_for_stdout(&format!("  evidence     {seen}"));
        push_line(text, format_args!("{seen}"));
    }
    push_fix(text, finding);
    push_line(text, format_args!(""));
}

/// Shows why it matters, and how to fix it.
fn push_fix(text: &mut String, finding: &Finding) {
    let why = wrap_for_stdout(&format!("  why          {}", finding.why));
    push_line(text, format_args!("{why}"));
    for way in &finding.by_hand {
        push_line(text, format_args!("  fix now      {way}"));
    }
    let rows = finding.spec.iter().flat_map(|node| node.lines());
    for (number, row) in rows.enumerate() {
        let label = if number == 0 {
            "fix in spec"
        } else {
            "           "
        };
        push_line(text, format_args!("  {label}  {row}"));
    }
}
