//! The findings of `stead doctor` as text.

use stead_resources::doctor::finding::{Ailment, Examination, Finding};

use crate::render::{
    print::{line, paint},
    terminal::wrapped,
};

/// Shows all findings, and how many checks there were.
pub(crate) fn examination(examination: &Examination) -> String {
    let mut text = String::new();
    for found in &examination.findings {
        finding(&mut text, found);
    }
    let count = match examination.findings.len() {
        0 => "No problems found".to_owned(),
        1 => "1 problem found".to_owned(),
        count => format!("{count} problems found"),
    };
    let checks = match examination.findings.len() + examination.fine.len() {
        1 => "1 check".to_owned(),
        checks => format!("{checks} checks"),
    };
    line(&mut text, format_args!("{count} ({checks})."));
    for unseen in &examination.unseen {
        let note = paint::warning("not checked:");
        line(
            &mut text,
            format_args!("{note} {}: {}", unseen.name, unseen.why),
        );
    }
    if examination
        .findings
        .iter()
        .any(|finding| !finding.spec.is_empty())
    {
        line(
            &mut text,
            format_args!("Run `stead doctor --show-fix` for a spec that fixes them, and its plan."),
        );
    }
    text
}

/// Shows the page of a finding.
pub(crate) fn ailment(ailment: &Ailment) -> String {
    let mut text = String::new();
    let name = paint::bold(ailment.name);
    line(&mut text, format_args!("{name}: {}", ailment.fact));
    line(
        &mut text,
        format_args!("  checks       {}", ailment.looks_at),
    );
    mending(&mut text, &ailment.seen(vec![]));
    text
}

fn finding(text: &mut String, finding: &Finding) {
    let name = paint::error(finding.name);
    let fact = wrapped(&format!("{name}: {}", finding.fact));
    line(text, format_args!("{fact}"));
    for seen in &finding.evidence {
        let seen = wrapped(&format!("  evidence     {seen}"));
        line(text, format_args!("{seen}"));
    }
    mending(text, finding);
    line(text, format_args!(""));
}

/// Shows why it matters, and how to fix it.
fn mending(text: &mut String, finding: &Finding) {
    let why = wrapped(&format!("  why          {}", finding.why));
    line(text, format_args!("{why}"));
    for way in &finding.by_hand {
        line(text, format_args!("  fix now      {way}"));
    }
    let rows = finding.spec.iter().flat_map(|node| node.lines());
    for (number, row) in rows.enumerate() {
        let label = if number == 0 {
            "fix in spec"
        } else {
            "           "
        };
        line(text, format_args!("  {label}  {row}"));
    }
}
