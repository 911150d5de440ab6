//! `when`: a comparison of a fact or a variable with a literal. Equality and order, nothing else.

use std::{cmp::Ordering, sync::Arc};

use kdl::{KdlEntry, KdlIdentifier, KdlNode, KdlValue};
use version_compare::{Cmp, Version, compare};

use crate::{
    language::{
        error::SpecError,
        source::{Source, Span},
        spans::{entry_span, head_span, name_span, source_text, value_span},
    },
    model::{facts::NONE, suggest},
};

const USAGE: &str = "write `when fact=\"cloud\" is=\"azure\" { … }`, or `var=` instead of `fact=`, or `is-not=`, `at-least=`, `below=` instead of `is=`";
const PROPERTIES: [&str; 6] = ["fact", "var", "is", "is-not", "at-least", "below"];

/// One comparison.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// All of it.
    pub(crate) span: Span,
    pub(crate) subject: Subject,
    /// The name of the fact or variable.
    pub(crate) name: String,
    /// Where that stands.
    pub(crate) name_span: Span,
    operator: Operator,
    operand: KdlValue,
    operand_span: Span,
    /// What it is compared with, as it was written.
    operand_text: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Fact,
    Variable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    AtLeast,
    Below,
}

impl Condition {
    /// Reads the node of a `when`.
    pub(crate) fn from_node(source: &Arc<Source>, node: &KdlNode) -> Result<Self, SpecError> {
        let mistake =
            |message: String, span: Span| SpecError::new("spec::when", message, span).help(USAGE);
        let mut subject: Option<(Subject, &KdlEntry)> = None;
        let mut operator: Option<(Operator, &KdlEntry)> = None;
        for entry in node.entries() {
            let span = entry_span(source, entry);
            let Some(property) = entry.name().map(KdlIdentifier::value) else {
                let text = source_text(source, entry);
                return Err(mistake(format!("`{text}` has no name before it"), span));
            };
            if entry.ty().is_some() {
                let fact = "a comparison takes a literal value".to_owned();
                return Err(mistake(fact, span));
            }
            let is_second = match property {
                "fact" => subject.replace((Subject::Fact, entry)).is_some(),
                "var" => subject.replace((Subject::Variable, entry)).is_some(),
                "is" => operator.replace((Operator::Is, entry)).is_some(),
                "is-not" => operator.replace((Operator::IsNot, entry)).is_some(),
                "at-least" => operator.replace((Operator::AtLeast, entry)).is_some(),
                "below" => operator.replace((Operator::Below, entry)).is_some(),
                other => {
                    let help = suggest::did_you_mean("a comparison has", other, PROPERTIES);
                    let fact = format!("`when` has no `{other}`");
                    return Err(mistake(fact, span).help(help));
                }
            };
            if is_second {
                let fact = "a `when` makes one comparison".to_owned();
                let help = "nest one `when` in another if both must be true";
                return Err(mistake(fact, span).help(help));
            }
        }
        let (Some((subject, what)), Some((operator, with))) = (subject, operator) else {
            let fact = match subject {
                None => "this `when` names neither a fact nor a variable",
                Some(_) => "this `when` has no value to compare with",
            };
            return Err(mistake(fact.to_owned(), name_span(source, node)));
        };
        let Some(name) = what.value().as_string() else {
            let fact = "the name of a fact or variable is a text".to_owned();
            return Err(mistake(fact, value_span(source, what)));
        };
        if !matches!(
            with.value(),
            KdlValue::String(_) | KdlValue::Integer(_) | KdlValue::Bool(_)
        ) {
            let fact = "a comparison is with a text, a whole number or a flag".to_owned();
            return Err(mistake(fact, value_span(source, with)));
        }
        if let (Operator::AtLeast | Operator::Below, KdlValue::String(text)) =
            (operator, with.value())
            && Version::from(text).is_none()
        {
            let fact = format!("`{text}` is not a version, and only versions can be ordered");
            return Err(mistake(fact, value_span(source, with)));
        }
        Ok(Self {
            span: head_span(source, node),
            subject,
            name: name.to_owned(),
            name_span: value_span(source, what),
            operator,
            operand: with.value().clone(),
            operand_span: value_span(source, with),
            operand_text: source_text(source, with),
        })
    }

    /// Returns the variable that it compares, and where it is named.
    pub(crate) fn variable(&self) -> Option<(String, Span)> {
        let is_variable = self.subject == Subject::Variable;
        is_variable.then(|| (self.name.clone(), self.name_span.clone()))
    }

    /// Whether it holds for a value. What is not there has no order, so that it is neither at least something nor below it.
    ///
    /// # Errors
    /// If the two cannot be compared.
    pub(crate) fn is_true(&self, value: &KdlValue) -> Result<bool, SpecError> {
        let is_order = matches!(self.operator, Operator::AtLeast | Operator::Below);
        let order = match (value, &self.operand) {
            (KdlValue::Integer(value), KdlValue::Integer(with)) => value.cmp(with),
            (KdlValue::String(value), KdlValue::String(_)) if is_order && value == NONE => {
                return Ok(false);
            }
            (KdlValue::String(value), KdlValue::String(with)) if is_order => {
                let order = compare(value, with);
                let order = order.ok().and_then(Cmp::ord);
                order.ok_or_else(|| self.not_a_version(value))?
            }
            (KdlValue::String(value), KdlValue::String(with)) => value.cmp(with),
            (KdlValue::Bool(value), KdlValue::Bool(with)) if !is_order => value.cmp(with),
            _ => return Err(self.type_mismatch(value)),
        };
        Ok(match self.operator {
            Operator::Is => order == Ordering::Equal,
            Operator::IsNot => order != Ordering::Equal,
            Operator::AtLeast => order != Ordering::Less,
            Operator::Below => order == Ordering::Less,
        })
    }

    /// Says what was compared and held.
    pub(crate) fn describe(&self, value: &KdlValue) -> String {
        let (name, with) = (&self.name, &self.operand_text);
        let value = match value {
            KdlValue::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.operator {
            Operator::Is => format!("`{name}` is `{value}`"),
            Operator::IsNot => format!("`{name}` is `{value}`, not {with}"),
            Operator::AtLeast => format!("`{name}` is `{value}`, at least {with}"),
            Operator::Below => format!("`{name}` is `{value}`, below {with}"),
        }
    }

    fn subject_noun(&self) -> &'static str {
        match self.subject {
            Subject::Fact => "fact",
            Subject::Variable => "variable",
        }
    }

    fn not_a_version(&self, value: &str) -> SpecError {
        let (what, name) = (self.subject_noun(), &self.name);
        let fact = format!("the {what} `{name}` is `{value}`, which is not a version");
        SpecError::new("spec::when", fact, self.name_span.clone())
            .help("only numbers and versions can be ordered; write `is=` or `is-not=`")
    }

    fn type_mismatch(&self, value: &KdlValue) -> SpecError {
        let (name, with) = (&self.name, &self.operand_text);
        let what = self.subject_noun();
        let (is, help) = match value {
            KdlValue::Integer(_) => ("a number", "write a number without quotes".to_owned()),
            KdlValue::Bool(_) => ("a flag", "write `is=#true` or `is=#false`".to_owned()),
            _ => ("a text", format!("write it in quotes: `\"{with}\"`")),
        };
        SpecError::new(
            "spec::when",
            format!("the {what} `{name}` is {is}, and `{with}` is not"),
            self.operand_span.clone(),
        )
        .help(help)
    }
}

#[cfg(test)]
mod tests {
    use kdl::KdlDocument;

    use super::*;

    fn evaluate(comparison: &str, value: &KdlValue) -> Result<bool, String> {
        let text = format!("when fact=\"x\" {comparison}");
        let source = Arc::new(Source::new("x.kdl", text.clone()));
        let document = KdlDocument::parse_v2(&text).unwrap();
        let condition = Condition::from_node(&source, &document.nodes()[0]);
        let holds = condition.and_then(|condition| condition.is_true(value));
        holds.map_err(|error| error.message)
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (value, with, is_at_least) in [
            ("1.9", "1.32", false),
            ("24.04", "24.4", true),
            ("6.8.0-45-generic", "6.8", true),
            ("v1.32.9", "v1.33.0", false),
            ("2.68.3-3+deb13u1+b7", "2.68", true),
            ("1.32/stable", "1.33/stable", false),
        ] {
            let value = KdlValue::String(value.to_owned());
            let at_least = evaluate(&format!("at-least=\"{with}\""), &value);
            let below = evaluate(&format!("below=\"{with}\""), &value);
            assert_eq!((at_least, below), (Ok(is_at_least), Ok(!is_at_least)));
        }
    }

    #[test]
    fn comparison_rejects_text_that_is_no_version() {
        let none = KdlValue::String("none".to_owned());
        assert_eq!(evaluate("at-least=\"1\"", &none), Ok(false));
        assert_eq!(evaluate("below=\"1\"", &none), Ok(false));
        assert_eq!(evaluate("is=\"none\"", &none), Ok(true));
        let word = KdlValue::String("debian".to_owned());
        assert!(
            evaluate("below=\"1\"", &word)
                .unwrap_err()
                .contains("is not a version")
        );
        assert!(
            evaluate("below=\"azure\"", &word)
                .unwrap_err()
                .contains("`azure` is not a version")
        );
    }
}
