//! The user's mistakes: each with its source line, the narrowest span, a stable code and help that says what to type.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode};

use crate::{
    schema::Problem,
    spec::{Resource, Span},
};

/// One mistake in a spec.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SpecError {
    /// The fact, lower case, no full stop, the user's words in backticks.
    pub message: String,
    /// A stable code such as `spec::unknown-kind`.
    pub code: &'static str,
    /// What to type.
    pub help: Option<String>,
    /// The places, the main one first, each with what is to be said there.
    pub labels: Vec<(Span, String)>,
}

/// All mistakes that were found; never empty.
#[derive(Debug, thiserror::Error)]
pub struct SpecErrors(pub Vec<SpecError>);

impl SpecError {
    /// Makes a mistake that stands at `span`.
    pub fn new(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            message: message.into(),
            code,
            help: None,
            labels: vec![(span, String::new())],
        }
    }

    /// Makes a mistake of what a kind found wrong with `resource`.
    pub fn of(resource: &Resource, problem: Problem) -> Self {
        let at = problem.attribute.as_deref().unwrap_or("name");
        let span = resource
            .attributes
            .get(at)
            .unwrap_or(&resource.span)
            .clone();
        let mut error = Self::new(
            "spec::value",
            format!("{}: {}", resource.address, problem.message),
            span,
        );
        error.help = problem.help;
        error
    }

    /// Says what to type.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says something at a place: the first label when `span` is the main place, else one more.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }
}

impl Diagnostic for SpecError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.labels
            .first()
            .map(|(span, _)| span.source.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().map(|(span, text)| {
            let text = Some(text.clone()).filter(|text| !text.is_empty());
            LabeledSpan::new(text, span.offset, span.length)
        })))
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 mistake in the spec"),
            count => write!(f, "{count} mistakes in the spec"),
        }
    }
}

impl Diagnostic for SpecErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.0.iter().map(|error| error as &dyn Diagnostic),
        ))
    }
}
