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
pub(crate) mod terminal;
pub(crate) mod text;

pub(crate) use attribute_help::{meaning, shape};
pub(crate) use format::{plain, took, value};
pub(crate) use gitlab::gitlab;
pub(crate) use html::page as history_page;
pub(crate) use junit::junit;
pub(crate) use markdown::markdown;
pub(crate) use plan_view::{Detail, marks};
pub(crate) use print::{data, line, message, page, paint};
pub(crate) use svg::svg;
pub(crate) use terminal::{can_ask, has_letters, respect_dumb_terminals};
pub(crate) use text::coverage::coverage;
pub(crate) use text::expected::expected;
pub(crate) use text::finding::{ailment, examination};
pub(crate) use text::outcome::{end_of, exit_of, going_back, outcome, summary_of_run, time};
pub(crate) use text::plan::{no_changes, plan, question};
pub(crate) use text::progress::Progress;
pub(crate) use text::rehearsal::rehearsal;
