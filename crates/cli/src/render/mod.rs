//! Output: plans, progress, outcomes. It is understandable without colour.

pub(crate) mod attribute_help;
pub(crate) mod format;
mod gitlab;
#[cfg(test)]
pub(crate) mod hostile_fixture;
pub(crate) mod html;
mod junit;
mod markdown;
pub(crate) mod plan_view;
pub(crate) mod print;
mod svg;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;

pub(crate) use attribute_help::{attribute_text, shape_text};
pub(crate) use format::{escape_control, format_duration, format_value};
pub(crate) use gitlab::gitlab;
pub(crate) use html::history_page;
pub(crate) use junit::junit;
pub(crate) use markdown::markdown;
pub(crate) use plan_view::{Detail, marks};
pub(crate) use print::{eprint_message, print_data, print_text, push_line, style};
pub(crate) use svg::svg;
pub(crate) use table::{Column, table};
pub(crate) use terminal::{is_interactive, respect_dumb_terminals, supports_unicode};
pub(crate) use text::coverage::coverage;
pub(crate) use text::expected::expected_plan;
pub(crate) use text::finding::{doctor_report, finding_rule};
pub(crate) use text::outcome::{
    exit_code, format_time, outcome, outcome_word, rolling_back, run_summary,
};
pub(crate) use text::plan::{no_changes, plan, question};
pub(crate) use text::progress::Progress;
pub(crate) use text::rehearsal::rehearsal;
