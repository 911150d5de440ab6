//! Answers that are refusals.

use serde_json::Value;

/// What the daemon refuses.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) kind: Option<&'static str>,
    pub(super) message: String,
    pub(super) value: Value,
}

/// A refusal with a word for the reason.
pub(super) fn refusal(code: u16, kind: &'static str, message: String) -> Refusal {
    Refusal {
        code,
        kind: Some(kind),
        message,
        value: Value::Null,
    }
}

/// A refusal without a kind.
pub(super) fn refusal_without_kind(code: u16, message: String) -> Refusal {
    Refusal {
        code,
        kind: None,
        message,
        value: Value::Null,
    }
}
