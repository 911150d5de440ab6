//! Texts for people: plans, progress, outcomes, findings, reports.

pub(crate) mod coverage;
pub(crate) mod expected;
pub(crate) mod finding;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod rehearsal;
