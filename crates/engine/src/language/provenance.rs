//! How a resource and its values came into a spec: includes, profiles, conditions, variables.

use std::sync::Arc;

use crate::language::source::Span;

/// How one resource came into a spec.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// Through what, the outermost first.
    pub via: Arc<Vec<Via>>,
    /// The values that are not written where they are used.
    pub values: Vec<ValueOrigin>,
    /// Where it says that it replaces another declaration of the same address.
    pub is_override: Option<Span>,
    /// The declaration that it replaces.
    pub replaces: Option<Span>,
}

/// One thing through which a resource came.
#[derive(Clone, Debug)]
pub enum Via {
    /// An `include`.
    Include(Span),
    /// A `use` of a profile.
    Use(Span),
    /// A `when` that holds.
    When {
        /// Where it stands.
        span: Span,
        /// What was compared, for instance "`cloud` is `azure`".
        condition: String,
    },
}

/// Where a value that was not written itself comes from.
#[derive(Clone, Debug)]
pub struct ValueOrigin {
    /// Where it is used.
    pub at: Span,
    /// The value, as it would be written.
    pub value: String,
    /// Where it comes from, the nearest first, each with what stands there; never empty.
    pub from: Vec<(Span, String)>,
}

impl ValueOrigin {
    /// Whether `span` is where the value is used.
    pub(crate) fn is_at(&self, span: &Span) -> bool {
        span.length > 0 && span.is_within(&self.at)
    }
}
