//! Errors of a spec: each with its source line, the narrowest span, a stable code and help that says what to type.

use std::{fmt, sync::Arc};

use miette::{Diagnostic, LabeledSpan, Severity, SourceCode};

use crate::{
    language::{provenance::ValueOrigin, source::Span, spec::Resource},
    model::schema::Problem,
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
    pub fn from_problem(resource: &Resource, problem: Problem) -> Self {
        let span = match &problem.attribute {
            None => &resource.name_span,
            Some(attribute) => resource.attribute_span(attribute),
        };
        let mut error = Self::new(
            "spec::value",
            format!("{}: {}", resource.address, problem.message),
            span.clone(),
        );
        error.help = problem.help;
        error.with_origin(&resource.provenance.values)
    }

    /// Points at where a value was written, if it comes from elsewhere, and says how it came to where it is used.
    pub(crate) fn with_origin(mut self, values: &[ValueOrigin]) -> Self {
        let Some((used, said)) = self.labels.first_mut() else {
            return self;
        };
        let Some(origin) = values.iter().find(|origin| origin.is_at(used)) else {
            return self;
        };
        let mut from = origin.from.iter().rev();
        let Some((written, what)) = from.next() else {
            return self;
        };
        let used = std::mem::replace(used, written.clone());
        said.clone_from(what);
        let between: Vec<_> = from.cloned().collect();
        self.labels.extend(between);
        self.labels.push((used, "used here".to_owned()));
        self
    }

    /// Returns all places, and last the includes by which their files came.
    pub fn places(&self) -> Vec<(Span, String)> {
        let mut places = self.labels.clone();
        let mut at = 0;
        while let Some((span, _)) = places.get(at) {
            at += 1;
            let Some(include) = span.source.included_at.as_deref().cloned() else {
                continue;
            };
            let is_there = places.iter().any(|(there, _)| there.is_same(&include));
            if !is_there {
                places.push((include, "included here".to_owned()));
            }
        }
        places
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

    /// Whether a place is in the file of the main place.
    fn is_in_main_source(&self, span: &Span) -> bool {
        let main = self.labels.first();
        main.is_some_and(|(main, _)| Arc::ptr_eq(&main.source, &span.source))
    }

    /// Returns the places in other files.
    pub fn notes(&self) -> Vec<Note> {
        let places = self.places().into_iter();
        places
            .filter(|(span, _)| !self.is_in_main_source(span))
            .map(|(span, text)| Note { text, span })
            .collect()
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
        let here = self
            .labels
            .iter()
            .filter(|(span, _)| self.is_in_main_source(span));
        Some(Box::new(here.map(|(span, text)| labelled(span, text))))
    }
}

fn labelled(span: &Span, text: &str) -> LabeledSpan {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    LabeledSpan::new(text, span.offset, span.length)
}

/// A place in another file than the mistake itself.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Note {
    text: String,
    span: Span,
}

impl Diagnostic for Note {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.span.source.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(labelled(&self.span, ""))))
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 error in the spec"),
            count => write!(f, "{count} errors in the spec"),
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
