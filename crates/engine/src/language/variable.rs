//! Declarations of variables, and their types.

use std::sync::Arc;

use kdl::{KdlEntry, KdlIdentifier, KdlNode, KdlValue};

use crate::{
    language::{
        error::SpecError,
        source::{Source, Span},
        spans::{entry_span, head_span, name_span, source_text, value_span},
    },
    model::suggest,
};

const USAGE: &str = "write `var \"NAME\" default=\"VALUE\"`, or `type=\"number\"` or `type=\"flag\"` for one without a default";

/// A variable as it was declared.
#[derive(Clone)]
pub(crate) struct VariableDecl {
    pub(crate) name: String,
    pub(crate) source: Arc<Source>,
    pub(crate) span: Span,
    pub(crate) default: Option<KdlEntry>,
    pub(crate) r#type: Option<VariableType>,
    pub(crate) is_override: Option<Span>,
}

/// What a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VariableType {
    Text,
    Number,
    Flag,
}

impl VariableType {
    const NAMES: [&str; 3] = ["text", "number", "flag"];

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "number" => Some(Self::Number),
            "flag" => Some(Self::Flag),
            _ => None,
        }
    }

    fn from_value(value: &KdlValue) -> Option<Self> {
        match value {
            KdlValue::String(_) => Some(Self::Text),
            KdlValue::Integer(_) => Some(Self::Number),
            KdlValue::Bool(_) => Some(Self::Flag),
            KdlValue::Float(_) | KdlValue::Null => None,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a whole number",
            Self::Flag => "`#true` or `#false`",
        }
    }

    /// Reads a text that stands outside of any KDL.
    pub(crate) fn parse(self, text: &str) -> Option<KdlValue> {
        match self {
            Self::Text => Some(KdlValue::String(text.to_owned())),
            Self::Number => text.parse().ok().map(KdlValue::Integer),
            Self::Flag => match text {
                "true" | "#true" => Some(KdlValue::Bool(true)),
                "false" | "#false" => Some(KdlValue::Bool(false)),
                _ => None,
            },
        }
    }
}

impl VariableDecl {
    /// Reads the node of a `var`.
    pub(crate) fn from_node(source: &Arc<Source>, node: &KdlNode) -> Result<Self, Vec<SpecError>> {
        let mut errors = vec![];
        let mut declared = Self {
            name: String::new(),
            source: source.clone(),
            span: head_span(source, node),
            default: None,
            r#type: None,
            is_override: None,
        };
        let mut names = node.entries().iter().filter(|entry| entry.name().is_none());
        match (names.next(), names.next()) {
            (Some(name), None) if name.value().is_string() && name.ty().is_none() => {
                let name = name.value().as_string();
                declared.name.push_str(name.unwrap_or_default());
            }
            (_, Some(extra)) => errors.push(
                SpecError::new(
                    "spec::var",
                    "a variable takes one name",
                    entry_span(source, extra),
                )
                .help(USAGE),
            ),
            _ => errors.push(
                SpecError::new(
                    "spec::var",
                    "this variable has no name",
                    name_span(source, node),
                )
                .help(USAGE),
            ),
        }
        if let Some(children) = node.children().and_then(|below| below.nodes().first()) {
            let fact = "a variable takes no braces";
            errors.push(SpecError::new("spec::var", fact, name_span(source, children)).help(USAGE));
        }
        for entry in node.entries() {
            let Some(property) = entry.name().map(KdlIdentifier::value) else {
                continue;
            };
            let span = value_span(source, entry);
            match (property, entry.value()) {
                ("default", KdlValue::Null | KdlValue::Float(_)) => errors.push(
                    SpecError::new(
                        "spec::var",
                        "a variable is a text, a whole number or a flag",
                        span,
                    )
                    .help("omit `default` if the variable must be set"),
                ),
                ("default", _) => declared.default = Some(entry.clone()),
                ("type", KdlValue::String(name)) if VariableType::from_name(name).is_some() => {
                    declared.r#type = VariableType::from_name(name);
                }
                ("type", _) => errors.push(
                    SpecError::new(
                        "spec::var",
                        format!("`{}` is not a type", source_text(source, entry)),
                        span,
                    )
                    .help(suggest::did_you_mean(
                        "the types are",
                        entry.value().as_string().unwrap_or_default(),
                        VariableType::NAMES,
                    )),
                ),
                ("override", KdlValue::Bool(true)) => declared.is_override = Some(span),
                ("override", KdlValue::Bool(false)) => {}
                (other, _) => errors.push(
                    SpecError::new(
                        "spec::var",
                        format!("a variable does not take `{other}`"),
                        entry_span(source, entry),
                    )
                    .help(suggest::did_you_mean(
                        "it takes",
                        other,
                        ["default", "type", "override"],
                    )),
                ),
            }
        }
        if errors.is_empty() {
            Ok(declared)
        } else {
            Err(errors)
        }
    }

    /// Returns its type: the one that is written, else that of its default, else text.
    pub(crate) fn r#type(&self) -> VariableType {
        let default = self.default.as_ref().filter(|entry| entry.ty().is_none());
        self.r#type
            .or_else(|| default.and_then(|entry| VariableType::from_value(entry.value())))
            .unwrap_or(VariableType::Text)
    }

    /// Says so when a value is of another type.
    pub(crate) fn check(&self, value: &KdlValue, at: &Span) -> Result<(), SpecError> {
        if VariableType::from_value(value) == Some(self.r#type()) {
            return Ok(());
        }
        Err(self.type_mismatch(&value.to_string(), at))
    }

    /// Says what its type is, and that `text` is not of it.
    pub(crate) fn type_mismatch(&self, text: &str, at: &Span) -> SpecError {
        let error = SpecError::new(
            "spec::var",
            format!(
                "the variable `{}` is {}, and `{text}` is not",
                self.name,
                self.r#type().noun()
            ),
            at.clone(),
        );
        if at.is_within(&self.span) {
            return error;
        }
        error.label(self.span.clone(), "declared here")
    }
}

/// What is wrong with an override that has nothing to replace.
pub(crate) fn override_without_base(what: &str, span: Span) -> SpecError {
    SpecError::new(
        "spec::override",
        format!("{what} overrides nothing: it is declared nowhere else"),
        span,
    )
    .help("remove `override=#true`, or include the file that declares it")
}

/// What is wrong with an annotation that nobody knows.
pub(crate) fn unknown_annotation(name: &str, span: Span) -> SpecError {
    SpecError::new(
        "spec::annotation",
        format!("unknown annotation `({name})`"),
        span,
    )
    .help(suggest::did_you_mean(
        "the annotations of a value are",
        name,
        ["var", "env", "fact", "secret"],
    ))
}
