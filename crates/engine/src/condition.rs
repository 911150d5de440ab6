//! `when`: a comparison of a fact or a variable with what is written. Equality and order, nothing else.

use std::{cmp::Ordering, sync::Arc};

use kdl::{KdlEntry, KdlIdentifier, KdlNode, KdlValue};

use crate::{
    spec::{Source, Span},
    spec_error::SpecError,
    suggest,
    value::{entry_span, shown, value_span},
    written::{head, name_of},
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
    relation: Relation,
    with: KdlValue,
    with_span: Span,
    /// What it is compared with, as it was written.
    with_shown: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Fact,
    Variable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Is,
    IsNot,
    AtLeast,
    Below,
}

impl Condition {
    /// Reads the node of a `when`.
    pub(crate) fn of(source: &Arc<Source>, node: &KdlNode) -> Result<Self, SpecError> {
        let mistake =
            |message: String, span: Span| SpecError::new("spec::when", message, span).help(USAGE);
        let mut subject: Option<(Subject, &KdlEntry)> = None;
        let mut relation: Option<(Relation, &KdlEntry)> = None;
        for entry in node.entries() {
            let span = entry_span(source, entry);
            let Some(property) = entry.name().map(KdlIdentifier::value) else {
                let text = shown(source, entry);
                return Err(mistake(format!("`{text}` has no name before it"), span));
            };
            if entry.ty().is_some() {
                let fact = "a comparison is with what is written".to_owned();
                return Err(mistake(fact, span));
            }
            let is_second = match property {
                "fact" => subject.replace((Subject::Fact, entry)).is_some(),
                "var" => subject.replace((Subject::Variable, entry)).is_some(),
                "is" => relation.replace((Relation::Is, entry)).is_some(),
                "is-not" => relation.replace((Relation::IsNot, entry)).is_some(),
                "at-least" => relation.replace((Relation::AtLeast, entry)).is_some(),
                "below" => relation.replace((Relation::Below, entry)).is_some(),
                other => {
                    let help = suggest::help("a comparison has", other, PROPERTIES);
                    let fact = format!("`when` has no `{other}`");
                    return Err(mistake(fact, span).help(help));
                }
            };
            if is_second {
                let fact = "a `when` compares one thing with one other".to_owned();
                let help = "put one `when` into another where both shall hold";
                return Err(mistake(fact, span).help(help));
            }
        }
        let (Some((subject, what)), Some((relation, with))) = (subject, relation) else {
            let fact = match subject {
                None => "this `when` names neither a fact nor a variable",
                Some(_) => "this `when` compares with nothing",
            };
            return Err(mistake(fact.to_owned(), name_of(source, node)));
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
        Ok(Self {
            span: head(source, node),
            subject,
            name: name.to_owned(),
            name_span: value_span(source, what),
            relation,
            with: with.value().clone(),
            with_span: value_span(source, with),
            with_shown: shown(source, with),
        })
    }

    /// Returns the variable that it compares, and where it is named.
    pub(crate) fn variable(&self) -> Option<(String, Span)> {
        let is_variable = self.subject == Subject::Variable;
        is_variable.then(|| (self.name.clone(), self.name_span.clone()))
    }

    /// Whether it holds for a value.
    ///
    /// # Errors
    /// If the two cannot be compared.
    pub(crate) fn holds(&self, value: &KdlValue) -> Result<bool, SpecError> {
        let order = match (value, &self.with) {
            (KdlValue::Integer(value), KdlValue::Integer(with)) => value.cmp(with),
            (KdlValue::String(value), KdlValue::String(with)) => match self.relation {
                Relation::Is | Relation::IsNot => value.cmp(with),
                Relation::AtLeast | Relation::Below => versions(value, with),
            },
            (KdlValue::Bool(value), KdlValue::Bool(with)) if !self.is_order() => value.cmp(with),
            _ => return Err(self.other_type(value)),
        };
        Ok(match self.relation {
            Relation::Is => order == Ordering::Equal,
            Relation::IsNot => order != Ordering::Equal,
            Relation::AtLeast => order != Ordering::Less,
            Relation::Below => order == Ordering::Less,
        })
    }

    /// Says what was compared and held.
    pub(crate) fn held(&self, value: &KdlValue) -> String {
        let (name, with) = (&self.name, &self.with_shown);
        let value = match value {
            KdlValue::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.relation {
            Relation::Is => format!("`{name}` is `{value}`"),
            Relation::IsNot => format!("`{name}` is `{value}`, not {with}"),
            Relation::AtLeast => format!("`{name}` is `{value}`, at least {with}"),
            Relation::Below => format!("`{name}` is `{value}`, below {with}"),
        }
    }

    fn is_order(&self) -> bool {
        matches!(self.relation, Relation::AtLeast | Relation::Below)
    }

    fn other_type(&self, value: &KdlValue) -> SpecError {
        let (name, with) = (&self.name, &self.with_shown);
        let what = match self.subject {
            Subject::Fact => "fact",
            Subject::Variable => "variable",
        };
        let (is, help) = match value {
            KdlValue::Integer(_) => ("a number", "write a number without quotes".to_owned()),
            KdlValue::Bool(_) => ("a flag", "write `is=#true` or `is=#false`".to_owned()),
            _ => ("a text", format!("write it in quotes: `\"{with}\"`")),
        };
        SpecError::new(
            "spec::when",
            format!("the {what} `{name}` is {is}, and `{with}` is not"),
            self.with_span.clone(),
        )
        .help(help)
    }
}

/// Compares versions: runs of digits as numbers, everything else as text. `24.04` is below `24.10` and `1.9` below `1.32`.
fn versions(left: &str, right: &str) -> Ordering {
    let mut left = Pieces(left);
    let mut right = Pieces(right);
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(&other),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

struct Pieces<'a>(&'a str);

/// A piece of a version. Text comes before a number, as in `1.0rc1` and `1.0.1`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Text(&'a str),
    /// Its digits without leading zeroes: the longer is the larger.
    Number(usize, &'a str),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let text = self.0.trim_start_matches(['.', '-', '+', '~', '_']);
        let first = text.chars().next()?;
        let is_number = first.is_ascii_digit();
        let end = text
            .find(|c: char| c.is_ascii_digit() != is_number || ".-+~_".contains(c))
            .unwrap_or(text.len());
        let (piece, rest) = text.split_at(end);
        self.0 = rest;
        if !is_number {
            return Some(Piece::Text(piece));
        }
        let digits = piece.trim_start_matches('0');
        Some(Piece::Number(digits.len(), digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, expected) in [
            ("1.9", "1.32", Less),
            ("24.04", "24.4", Equal),
            ("6.8.0-45-generic", "6.8", Greater),
            ("13", "12", Greater),
            ("1.32.9", "1.33", Less),
            ("2.63+24.04", "2.63", Greater),
            ("none", "1", Less),
            ("99999999999999999999999", "100000000000000000000000", Less),
        ] {
            assert_eq!(versions(left, right), expected, "{left} {right}");
            assert_eq!(versions(right, left), expected.reverse(), "{right} {left}");
        }
    }
}
