//! The history as one HTML page: no script, no external resources, and all texts of runs are escaped.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use stead_engine::{
    history::{
        journal::Outcome,
        runs::{Run, StepEnd},
    },
    plan::document::Plan,
    provider::registry::Registry,
};
use stead_resources::host::LinuxHost;

use crate::render::{
    format::{format_duration, one_line, truncate},
    plan_view::{self, AttributeChange, AttributeDiff, ChangeView, Detail},
    text::outcome::{exit_code, format_time, outcome, outcome_word, pending_residue},
};

/// What a browser may do for this page: use its style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = include_str!("page.css");
/// The characters of a value or a line that are shown.
const MAX_CHARS: usize = 2_000;

/// Shows all runs, newest first.
pub(crate) fn history_page(registry: &Registry<LinuxHost>, runs: &[Run]) -> String {
    let newest = runs.last().and_then(|run| run.plan.as_ref());
    let host = newest.map_or("this host", |plan| plan.host.as_str());
    let title = format!("Runs on {}", one_line(host));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY_POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @if runs.is_empty() { p { "There is no run yet." } }
                @for (place, run) in runs.iter().rev().enumerate() { (run_details(registry, run, place == 0)) }
            }
        }
    };
    page.into_string() + "\n"
}

fn run_details(registry: &Registry<LinuxHost>, run: &Run, is_newest: bool) -> Markup {
    let plan = run.plan.as_ref();
    html! {
        details.run id={ "run-" (run.run) } open[is_newest] {
            summary {
                span.number { "Run " (run.run) } " "
                span.(css_class(run)) { (outcome_word(run)) } " "
                span.faint { (start_time(run)) }
                @if let Some(plan) = plan { " " span.counts { (counts(plan)) } }
            }
            dl {
                dt { "began" } dd { (start_time(run)) }
                @if let Some(ended) = run.ended { dt { "ended" } dd { (format_time(ended)) } }
                @if let Some(time) = run_duration(run) { dt { "took" } dd.total { (format_duration(time)) } }
                dt { "exit code" } dd.exit { (exit_code(run).map_or_else(|| "none yet".to_owned(), |exit| exit.to_string())) }
                @if let Some(plan) = plan { dt { "host" } dd { (code(&plan.host)) } }
                @if let Some(other) = run.undoes { dt { "undoes" } dd { a href={ "#run-" (other) } { "run " (other) } } }
            }
            (outcome_markup(run))
            (steps(run))
            @if let Some(plan) = plan {
                h3 { (plan_view::summary(plan)) }
                (costs(plan))
                @for shown in plan_view::changes(registry, plan) { (change(&shown)) }
                (notes(plan))
            } @else {
                p { "It was killed before its plan was saved." }
            }
        }
    }
}

fn css_class(run: &Run) -> &'static str {
    match run.outcome {
        Some(Outcome::Done { .. }) => "done",
        None | Some(Outcome::Pending { .. }) => "waits",
        Some(_) => "failed",
    }
}

fn start_time(run: &Run) -> String {
    run.started
        .map_or_else(|| "never started".to_owned(), format_time)
}

fn run_duration(run: &Run) -> Option<Duration> {
    let took = run.ended?.duration_since(run.started?);
    // Somebody may have set the clock back.
    Duration::try_from(took).ok()
}

fn counts(plan: &Plan) -> String {
    let summary = &plan.summary;
    format!(
        "+{} ~{} -{}",
        summary.create, summary.change, summary.remove
    )
}

/// Says how a run ended, as the command said it.
fn outcome_markup(run: &Run) -> Markup {
    let said = run.outcome.as_ref().map(outcome);
    let left = run.retry.as_ref().map(pending_residue);
    let text = [said, left].into_iter().flatten().collect::<String>();
    let text = anstream::adapter::strip_str(&text).to_string();
    let back = match &run.outcome {
        Some(
            Outcome::Failed { restored, .. }
            | Outcome::CheckFailed { restored, .. }
            | Outcome::NotConfirmed { restored, .. }
            | Outcome::Residue { restored, .. },
        ) => &restored[..],
        _ => &[],
    };
    html! {
        @if !text.is_empty() { pre.end { (text.trim_end()) } }
        @if !back.is_empty() {
            p { "Restored, in this order:" @for address in back { " " (code(&address.to_string())) } }
        }
    }
}

fn steps(run: &Run) -> Markup {
    let steps = run.steps();
    html! {
        @if !steps.is_empty() {
            h3 { "Steps" }
            table.steps {
                tr { th { "step" } th { "of" } th { "took" } }
                @for (place, step) in steps.iter().enumerate() {
                    tr {
                        td { (place + 1) }
                        td { @for address in &step.addresses { (code(&address.to_string())) " " } }
                        td {
                            @match step.end {
                                StepEnd::Done(Some(time)) => (format_duration(time)),
                                StepEnd::Done(None) => "not measured",
                                StepEnd::NotDone => span.failed { "did not end" },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn costs(plan: &Plan) -> Markup {
    let mut costs = plan_view::costs(plan);
    costs.sort_by_key(|cost| cost.warning.is_none());
    html! {
        @if !costs.is_empty() {
            ul.costs {
                @for cost in &costs {
                    li {
                        @if let Some(warning) = cost.warning { strong { (warning) ": " } }
                        (code(&cost.address.to_string())) " " (one_line(&cost.text))
                    }
                }
            }
        }
    }
}

fn notes(plan: &Plan) -> Markup {
    html! {
        @if !plan.remarks.is_empty() || !plan.unobserved.is_empty() {
            ul.notes {
                @for unseen in &plan.unobserved {
                    li { "could not be read: " (code(&unseen.attribute)) " of " (code(&unseen.address.to_string())) }
                }
                @for remark in &plan.remarks { li { (code(&remark.address.to_string())) " " (one_line(&remark.text)) } }
            }
        }
    }
}

fn change(shown: &ChangeView<'_>) -> Markup {
    html! {
        @if shown.is_point_of_no_return {
            p { strong { "Point of no return:" } " what follows cannot be undone" }
        }
        details.change {
            summary { (shown.symbol.character()) " " (code(&shown.planned.address.to_string())) }
            p.faint { (one_line(&plan_view::explanation(shown.planned))) }
            @for attribute in &shown.attributes { (difference(attribute)) }
        }
    }
}

fn difference((name, old, new): &AttributeChange<'_>) -> Markup {
    match plan_view::attribute_diff(*old, *new, Detail::Whole) {
        AttributeDiff::Inline { old, new } => html! {
            p {
                (code(name)) " "
                @if let Some(old) = &old { del { (code(old)) } }
                @if old.is_some() && new.is_some() { " → " }
                @if let Some(new) = &new { ins { (code(new)) } }
            }
        },
        AttributeDiff::Multiline(unified) => html! {
            p { (code(name)) }
            pre.diff {
                @for line in &unified.lines {
                    @let text = truncate(line, MAX_CHARS);
                    @match line.chars().next() {
                        Some('+') => ins { (text) },
                        Some('-') => del { (text) },
                        _ => (text),
                    }
                    "\n"
                }
                @if unified.omitted > 0 { "… " (unified.omitted) " more lines\n" }
            }
        },
    }
}

fn code(text: &str) -> Markup {
    html! { code { (truncate(&one_line(text), MAX_CHARS)) } }
}

#[cfg(test)]
mod tests {
    use scraper::{Html, Selector};
    use stead_engine::{history::journal::Record, model::address::Address};

    use super::{
        super::hostile_fixture::{self, NAME, TEXT},
        *,
    };

    /// One run that is done, one that failed at a hostile name, and one that was killed before it had a plan.
    fn runs() -> Vec<Run> {
        let step = |address: &Address| Record::Step {
            before: vec![(address.clone(), None)],
            start_states: std::collections::BTreeMap::new(),
            remnants: std::collections::BTreeMap::new(),
        };
        let plan = hostile_fixture::plan();
        let addresses: Vec<_> = plan
            .changes
            .iter()
            .map(|planned| &planned.address)
            .collect();
        let done = Record::Done {
            milliseconds: Some(1_234),
        };
        let records = vec![step(addresses[0]), done, step(addresses[1])];
        let run = |run, outcome, plan: Option<Plan>, records| Run {
            run,
            started: "2026-11-26T01:02:03Z".parse().ok(),
            ended: "2026-11-26T01:02:05.5Z".parse().ok(),
            undoes: None,
            outcome,
            retry: None,
            plan,
            records,
        };
        let failed = Outcome::Failed {
            run: 2,
            cause: vec![format!("cannot write {NAME}")],
            restored: vec![Address::new("file", NAME)],
        };
        vec![
            run(
                1,
                Some(Outcome::Done { run: 1 }),
                Some(hostile_fixture::plan()),
                vec![],
            ),
            run(2, Some(failed), Some(plan.clone()), records),
            Run {
                undoes: Some(1),
                ended: None,
                ..run(3, None, None, vec![])
            },
        ]
    }

    fn render_runs() -> (String, Html) {
        let page = history_page(&stead_resources::registry(), &runs());
        let document = Html::parse_document(&page);
        assert!(document.errors.is_empty(), "{:?}", document.errors);
        (page, document)
    }

    fn select_texts(document: &Html, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let found = document.select(&selector);
        found.map(|element| element.text().collect()).collect()
    }

    #[test]
    fn history_page_shows_plan_outcome_and_times_of_runs() {
        let (_, document) = render_runs();
        let summaries = select_texts(&document, ".run > summary");
        let names: Vec<_> = summaries.iter().map(|text| &text[..5]).collect();
        assert_eq!(names, ["Run 3", "Run 2", "Run 1"]);
        assert_eq!(
            select_texts(&document, ".run > summary .counts"),
            ["+1 ~3 -1"; 2]
        );
        assert_eq!(select_texts(&document, ".exit"), ["none yet", "1", "0"]);
        assert_eq!(select_texts(&document, ".total"), ["2.5 s"; 2]);
        assert_eq!(select_texts(&document, "#run-2 .change").len(), 5);
        assert_eq!(select_texts(&document, "#run-2 .costs li").len(), 4);
        let steps = select_texts(&document, "#run-2 .steps td:last-child");
        assert_eq!(steps, ["1.2 s", "did not end"]);
        let end = &select_texts(&document, "#run-2 .end")[0];
        assert!(
            end.contains("Rolled back to the state before run 2 (1 resource)."),
            "{end}"
        );
        let because = &select_texts(&document, "#run-2 .change > .faint")[1];
        assert!(
            because.contains("changed by hand by <b>@bob</b> since run 3"),
            "{because}"
        );
        assert_eq!(select_texts(&document, "a[href='#run-1']"), ["run 1"]);
        assert_eq!(select_texts(&document, ".run[open]").len(), 1);
    }

    #[test]
    fn history_page_escapes_run_text_and_loads_nothing() {
        let (page, document) = render_runs();
        let known = [
            "html", "head", "meta", "title", "style", "body", "h1", "h3", "p", "details",
            "summary", "span", "dl", "dt", "dd", "a", "pre", "code", "table", "tbody", "tr", "th",
            "td", "ul", "li", "strong", "ins", "del",
        ];
        for element in document.select(&Selector::parse("*").unwrap()) {
            let name = element.value().name();
            assert!(known.contains(&name), "{name}");
            for (attribute, value) in element.value().attrs() {
                assert!(!attribute.starts_with("on") && attribute != "src" && attribute != "style");
                assert!(attribute != "href" || value.starts_with("#run-"), "{value}");
            }
        }
        assert_eq!(select_texts(&document, "style").len(), 1);
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        let policy = Selector::parse("head > meta[http-equiv='Content-Security-Policy']").unwrap();
        let policy = document.select(&policy).next().unwrap();
        assert_eq!(
            policy.value().attr("content"),
            Some(CONTENT_SECURITY_POLICY)
        );
        assert!(page.find(CONTENT_SECURITY_POLICY) < page.find("<style>"));
        let diffs = select_texts(&document, "#run-2 .diff");
        for line in TEXT.split_terminator('\n').skip(1) {
            assert!(
                diffs[0].contains(&format!("\n+{}\n", one_line(line))),
                "{}",
                diffs[0]
            );
        }
        assert!(!page.contains(['\u{1b}', '\u{202e}', '\r']));
    }

    #[test]
    fn history_page_renders_without_runs() {
        let page = history_page(&stead_resources::registry(), &[]);
        assert!(page.contains("There is no run yet."), "{page}");
    }
}
