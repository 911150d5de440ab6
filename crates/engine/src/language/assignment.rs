//! Values of variables that are set from outside of a spec.

use std::sync::Arc;

use kdl::KdlValue;

use crate::language::{
    error::{SpecError, SpecErrors},
    parse::parse,
    source::{Source, Span},
    spans::{name_span, value_span},
};

/// What a value given by `NAME=VALUE` is shown as standing in.
const ARGUMENT: &str = "--var";

/// A value as it was given, before the type of its variable is known.
#[derive(Clone, Debug)]
pub(crate) enum AssignedValue {
    /// A value that was written with a type of its own.
    Typed(KdlValue),
    /// A text that the type of the variable says how to read.
    Untyped(String),
}

/// A value that a variable was given from outside of the spec.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub(crate) name: String,
    pub(crate) value: AssignedValue,
    /// Where the name stands.
    pub(crate) name_span: Span,
    /// Where the value stands.
    pub(crate) span: Span,
}

impl Assignment {
    /// Reads `NAME=VALUE`, as it is typed on a command line; `None` if it is not that.
    pub fn from_argument(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        let source = Arc::new(Source::of_value(ARGUMENT, text));
        let after = name.len() + 1;
        (!name.is_empty()).then(|| Self {
            name: name.to_owned(),
            value: AssignedValue::Untyped(value.to_owned()),
            name_span: Span::new(&source, 0..name.len()),
            span: Span::new(&source, after..text.len()),
        })
    }

    /// Returns the name of the variable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value as it is written.
    pub fn source_text(&self) -> &str {
        let Span {
            source,
            offset,
            length,
        } = &self.span;
        &source.text[*offset..offset + length]
    }

    /// Reads a file of values, one node for each: `dns "9.9.9.9"`.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn from_file(source: &Arc<Source>) -> Result<Vec<Self>, SpecErrors> {
        let document = parse(source)?;
        let mut given: Vec<Self> = vec![];
        let mut errors = vec![];
        for node in document.nodes() {
            let name = node.name().value().to_owned();
            let name_span = name_span(source, node);
            match node.entries() {
                [entry]
                    if entry.name().is_none()
                        && entry.ty().is_none()
                        && node.children().is_none() =>
                {
                    if let Some(first) = given.iter().find(|given| given.name == name) {
                        let fact = format!("`{name}` is set twice");
                        errors.push(
                            SpecError::new("spec::twice", fact, name_span)
                                .label(first.name_span.clone(), "first here")
                                .help("keep one of them"),
                        );
                        continue;
                    }
                    given.push(Self {
                        name,
                        value: AssignedValue::Typed(entry.value().clone()),
                        name_span,
                        span: value_span(source, entry),
                    });
                }
                _ => {
                    let fact = format!("`{name}` takes one plain value");
                    errors.push(
                        SpecError::new("spec::var", fact, name_span)
                            .help(format!("write `{name} \"VALUE\"`")),
                    );
                }
            }
        }
        if errors.is_empty() {
            Ok(given)
        } else {
            Err(SpecErrors(errors))
        }
    }
}
