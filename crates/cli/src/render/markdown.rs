//! A plan as a comment of a merge request, in the Markdown of GitHub and GitLab.
//!
//! What a plan says is never Markdown itself: it stands in a block of HTML, escaped and in one line, where no Markdown is read, or in a
//! fence that is longer than all its backticks. Texts of others are in `<code>`, where neither `@somebody` nor `#1` is taken for a mention.

use std::path::Path;

use maud::{Markup, html};
use stead_engine::{plan::document::Plan, provider::registry::Registry};
use stead_resources::host::LinuxHost;

use crate::render::{
    format::{one_line, truncate},
    plan_view::{self, AttributeChange, AttributeDiff, ChangeView, Cost, Detail, UnifiedDiff},
};

/// GitHub takes 65,536 characters. Bytes are at least as many.
const MAX_BYTES: usize = 65_000;
/// The bytes after which a change is named without its values, so that those after it can be named too.
const MAX_DETAILED_BYTES: usize = 54_000;
/// The bytes of costs and notes; the rest is counted.
const MAX_LIST_BYTES: usize = 12_000;
/// The characters of a value or a line that are shown.
const MAX_CHARS: usize = 300;

/// Shows a plan: what it costs, then each change.
pub(crate) fn markdown(registry: &Registry<LinuxHost>, plan: &Plan, spec: &Path) -> String {
    let mut text = block(&html! { h3 { "stead: " (code(&plan.host)) } });
    text += &block(&headline(plan, spec));
    text += &costs(plan);
    text += &notes(plan);
    let (mut folded, mut missing) = (0, 0);
    for shown in plan_view::changes(registry, plan) {
        let heading = heading(&shown);
        let full = format!("{heading}{}", details(&shown));
        if text.len() + full.len() <= MAX_DETAILED_BYTES {
            text += &full;
        } else if text.len() + heading.len() <= MAX_BYTES - MAX_CHARS {
            text += &heading;
            folded += 1;
        } else {
            missing += 1;
        }
    }
    if folded + missing > 0 {
        let all = plan.changes.len();
        text += &block(&html! {
            p { strong {
                "Too long for a comment: of " (all) " changes " (folded) " are shown without what changes, and " (missing) " not at all. "
                code { "stead plan" } " shows them."
            } }
        });
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn headline(plan: &Plan, spec: &Path) -> Markup {
    html! {
        p {
            @if plan.is_empty() {
                strong { "No changes." }
                " The host matches " (code(&spec.display().to_string()))
                " (resources read: " (plan.summary.resources) ")."
            } @else {
                strong { (plan_view::summary(plan)) }
            }
        }
    }
}

/// Lists what a plan costs; what people are warned of first.
fn costs(plan: &Plan) -> String {
    let mut costs = plan_view::costs(plan);
    costs.sort_by_key(|cost| cost.warning.is_none());
    let entries = costs.iter().map(|cost| {
        let Cost {
            address,
            warning,
            text,
        } = cost;
        html! {
            @if let Some(warning) = warning { "⚠ " strong { (warning) } ": " }
            (code(&address.to_string())) " " (code(text))
        }
    });
    list("Effects", entries)
}

/// Lists what there is to know besides.
fn notes(plan: &Plan) -> String {
    let unseen = plan.unobserved.iter().map(|unseen| {
        html! { "could not be read: " (code(&unseen.attribute)) " of " (code(&unseen.address.to_string())) }
    });
    let remarks = plan
        .remarks
        .iter()
        .map(|remark| html! { (code(&remark.address.to_string())) " " (code(&remark.text)) });
    list("Notes", unseen.chain(remarks))
}

fn list(title: &str, entries: impl Iterator<Item = Markup>) -> String {
    let mut items = String::new();
    let mut left = 0;
    for entry in entries {
        let item = html! { li { (entry) } }.into_string();
        if items.len() + item.len() > MAX_LIST_BYTES {
            left += 1;
        } else {
            items += &item;
        }
    }
    if items.is_empty() {
        return String::new();
    }
    block(&html! {
        p { strong { (title) } }
        ul {
            (maud::PreEscaped(items))
            @if left > 0 { li { "… and " (left) " more" } }
        }
    })
}

fn heading(shown: &ChangeView<'_>) -> String {
    let mut text = String::new();
    if shown.is_point_of_no_return {
        text += &block(&html! {
            p { strong { "Point of no return:" } " what follows cannot be undone" }
        });
    }
    let because = plan_view::explanation(shown.planned);
    let because = because.strip_prefix("because ").unwrap_or(&because);
    text + &block(&html! {
        h4 { (shown.symbol.character()) " " (code(&shown.planned.address.to_string())) }
        p { "because " (code(because)) }
    })
}

fn details(shown: &ChangeView<'_>) -> String {
    if shown.attributes.is_empty() {
        return String::new();
    }
    let count = shown.attributes.len();
    let noun = if count == 1 {
        "attribute"
    } else {
        "attributes"
    };
    let (mut rows, mut texts) = (vec![], String::new());
    for attribute in &shown.attributes {
        let (name, old, new) = attribute;
        match plan_view::attribute_diff(*old, *new, Detail::Folded) {
            AttributeDiff::Inline { old, new } => rows.push((name, old, new)),
            AttributeDiff::Multiline(unified) => texts += &diff(attribute, &unified),
        }
    }
    let side = |text: &Option<String>| html! { td { @if let Some(text) = text { (code(text)) } } };
    let table = html! {
        @if !rows.is_empty() {
            table {
                tr { th { "attribute" } th { "old" } th { "new" } }
                @for (name, old, new) in &rows { tr { td { (code(name)) } (side(old)) (side(new)) } }
            }
        }
    };
    let open = format!(
        "<details>{}{}",
        html! { summary { (shown.symbol.word()) ": " (count) " " (noun) } }.into_string(),
        table.into_string()
    );
    format!("{open}\n\n{texts}</details>\n\n")
}

fn diff((name, ..): &AttributeChange<'_>, unified: &UnifiedDiff) -> String {
    let mut lines: Vec<_> = unified
        .lines
        .iter()
        .map(|line| truncate(line, MAX_CHARS))
        .collect();
    if unified.omitted > 0 {
        lines.push(format!("… {} more lines", unified.omitted));
    }
    let fence = "`".repeat(longest_run(&lines).max(2) + 1);
    let lines = lines.join("\n");
    format!(
        "{}{fence}diff\n{lines}\n{fence}\n\n",
        block(&html! { p { (code(name)) } })
    )
}

/// Returns how many backticks stand beside each other at most.
fn longest_run(lines: &[String]) -> usize {
    let runs = lines
        .iter()
        .flat_map(|line| line.split(|character| character != '`'));
    runs.map(str::len).max().unwrap_or(0)
}

fn code(text: &str) -> Markup {
    html! { code { (truncate(&one_line(text), MAX_CHARS)) } }
}

/// Makes a block of HTML: it begins with a tag and ends at the first empty line (CommonMark 0.31, section 4.6, condition 6).
fn block(markup: &Markup) -> String {
    format!("{}\n\n", markup.0)
}

#[cfg(test)]
mod tests {
    use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

    use super::{
        super::hostile_fixture::{self, TEXT},
        *,
    };

    fn render_plan(plan: &Plan) -> String {
        markdown(&stead_resources::registry(), plan, Path::new("host.kdl"))
    }

    /// Returns the HTML of a page, and its diffs, and sees that there is nothing else in it.
    fn blocks_and_diffs(page: &str) -> (String, Vec<String>) {
        let (mut blocks, mut diffs) = (String::new(), vec![]);
        let mut is_fenced = false;
        for event in Parser::new_ext(page, Options::all()) {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    assert_eq!(&*language, "diff");
                    is_fenced = true;
                    diffs.push(String::new());
                }
                Event::Text(text) if is_fenced => *diffs.last_mut().unwrap() += &text,
                Event::End(pulldown_cmark::TagEnd::CodeBlock) => is_fenced = false,
                Event::Html(text) => blocks += &text,
                Event::Start(Tag::HtmlBlock) | Event::End(_) => {}
                other => panic!("{other:?} in\n{page}"),
            }
        }
        (blocks, diffs)
    }

    #[test]
    fn markdown_escapes_hostile_text() {
        insta::assert_snapshot!(render_plan(&hostile_fixture::plan()));
    }

    #[test]
    fn markdown_states_that_nothing_changes() {
        insta::assert_snapshot!(render_plan(&hostile_fixture::empty()), @r"
        <h3>stead: <code>calm</code></h3>

        <p><strong>No changes.</strong> The host matches <code>host.kdl</code> (resources read: 1).</p>
        ");
    }

    #[test]
    fn markdown_never_parses_plan_text_as_markup() {
        let page = render_plan(&hostile_fixture::plan());
        let (blocks, diffs) = blocks_and_diffs(&page);
        assert_eq!(diffs.len(), 1);
        // The first line stands there already.
        for line in TEXT.split_terminator('\n').skip(1) {
            let line = format!("\n+{}\n", one_line(line));
            assert!(diffs[0].contains(&line), "{line:?} in {}", diffs[0]);
        }
        let known = [
            "h3", "h4", "p", "strong", "code", "ul", "li", "details", "summary", "table", "tr",
            "th", "td",
        ];
        let mut open = vec![];
        for tag in blocks.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap();
            match tag.strip_prefix('/') {
                Some(tag) => assert_eq!(open.pop(), Some(tag), "{blocks}"),
                None => open.push(tag),
            }
            assert!(known.contains(&tag.trim_start_matches('/')), "{tag}");
            let is_ours = !open.contains(&"code");
            assert!(!(is_ours && text.contains(['@', '#', '`'])), "{text}");
        }
        assert_eq!(open, [""; 0]);
    }

    #[test]
    fn markdown_of_long_plan_fits_limit_and_counts_omissions() {
        for count in [1, 20, 100, 1_000] {
            let page = render_plan(&hostile_fixture::large(count));
            assert!(page.len() < 65_000, "{count}: {}", page.len());
            blocks_and_diffs(&page);
            let (full, named) = (
                page.matches("<details>").count(),
                page.matches("<h4>").count(),
            );
            assert_eq!(page.contains("Too long for a comment"), full < count);
            let said = format!(
                "of {count} changes {} are shown without what changes, and {} not at all",
                named - full,
                count - named
            );
            assert!(full == count || page.contains(&said), "{said}");
        }
    }
}
