//! What a look at a host has found, for people.

use stead_resources::doctor::finding::{Ailment, Examination, Finding};

use crate::render::{
    print::{line, paint},
    terminal::wrapped,
};

/// Shows all findings, and what else was looked at.
pub(crate) fn examination(examination: &Examination) -> String {
    let mut text = String::new();
    for found in &examination.findings {
        finding(&mut text, found);
    }
    let count = match examination.findings.len() {
        0 => "Nothing of what is known goes wrong here".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let fine = examination.fine.len();
    line(
        &mut text,
        format_args!("{count}; {fine} other things are as they should be."),
    );
    for unseen in &examination.unseen {
        let note = paint::warning("not seen:");
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
            format_args!(
                "`stead doctor --show-fix` shows the lines of spec that mend what a spec can mend, and their plan."
            ),
        );
    }
    text
}

/// Shows the page about something that is known to go wrong.
pub(crate) fn ailment(ailment: &Ailment) -> String {
    let mut text = String::new();
    let name = paint::bold(ailment.name);
    line(&mut text, format_args!("{name}: {}", ailment.fact));
    line(&mut text, format_args!("  looks at  {}", ailment.looks_at));
    mending(&mut text, &ailment.seen(vec![]));
    text
}

fn finding(text: &mut String, finding: &Finding) {
    let name = paint::error(finding.name);
    let fact = wrapped(&format!("{name}: {}", finding.fact));
    line(text, format_args!("{fact}"));
    for seen in &finding.evidence {
        let seen = wrapped(&format!("  seen      {seen}"));
        line(text, format_args!("{seen}"));
    }
    mending(text, finding);
    line(text, format_args!(""));
}

/// Shows why it is to be mended, and how.
fn mending(text: &mut String, finding: &Finding) {
    let why = wrapped(&format!("  because   {}", finding.why));
    line(text, format_args!("{why}"));
    for way in &finding.by_hand {
        line(text, format_args!("  by hand   {way}"));
    }
    let rows = finding.spec.iter().flat_map(|node| node.lines());
    for (number, row) in rows.enumerate() {
        let label = if number == 0 {
            "in a spec"
        } else {
            "         "
        };
        line(text, format_args!("  {label} {row}"));
    }
}
