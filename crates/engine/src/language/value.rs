//! Values of attributes: KDL to JSON by the shape of the schema, with errors.

use std::{path::absolute, sync::Arc};

use kdl::{KdlEntry, KdlValue};
use serde_json::{Map, Value};

use crate::{
    language::{
        entries::AttributeEntry,
        error::SpecError,
        source::{Source, Span},
        spans::{entry_span, name_span, source_text, value_span},
    },
    model::{
        address::Address,
        schema::{Attribute, Shape},
        suggest,
    },
};

/// What became of a value.
pub(crate) enum Decoded {
    /// Its JSON.
    Value(Value),
    /// What is wrong with it; never empty.
    Invalid(Vec<SpecError>),
}

/// Decodes the values of one attribute; `span` is where all of it stands.
pub(crate) fn decode_value(
    source: &Arc<Source>,
    address: &Address,
    attribute: &Attribute,
    values: &[&KdlEntry],
    span: &Span,
) -> Decoded {
    let decoder = ValueDecoder {
        source,
        address,
        attribute,
    };
    match attribute.shape {
        Shape::Entries if values.iter().any(|entry| entry.value().is_null()) => {
            return match values {
                [_] => Decoded::Value(Value::Null),
                _ => Decoded::Invalid(vec![
                    decoder
                        .error(
                            "spec::null",
                            "`#null` must be the only value: it makes something not exist",
                            span.clone(),
                        )
                        .help("remove the other values, or `#null`"),
                ]),
            };
        }
        Shape::Entries if values.is_empty() => return Decoded::Value(Value::Array(vec![])),
        Shape::Entries | Shape::List => return decoder.list(values, span),
        _ => {}
    }
    match values {
        [only] => match decoder.scalar_value(only) {
            Ok(value) => Decoded::Value(value),
            Err(error) => Decoded::Invalid(vec![error]),
        },
        [] => Decoded::Invalid(vec![
            decoder
                .error(
                    "spec::type",
                    &format!("`{}` has no value", attribute.name),
                    span.clone(),
                )
                .help(decoder.usage()),
        ]),
        [_, second, ..] => Decoded::Invalid(vec![
            decoder
                .error(
                    "spec::type",
                    &format!("`{}` takes one value, not {}", attribute.name, values.len()),
                    entry_span(source, second),
                )
                .help(decoder.usage()),
        ]),
    }
}

/// Decodes a child node whose children are keys with values.
pub(crate) fn decode_map(
    source: &Arc<Source>,
    address: &Address,
    attribute: &Attribute,
    one: &AttributeEntry<'_>,
) -> Result<Value, Vec<SpecError>> {
    let decoder = ValueDecoder {
        source,
        address,
        attribute,
    };
    let mut errors: Vec<_> = one
        .values
        .iter()
        .map(|entry| {
            decoder
                .error(
                    "spec::type",
                    &format!("`{}` takes keys, and no value of its own", attribute.name),
                    entry_span(source, entry),
                )
                .help(decoder.usage())
        })
        .collect();
    let mut map = Map::new();
    for child in one.children {
        let key = child.name().value();
        let value = match child.entries() {
            [entry] if is_secret(entry) => {
                errors.push(decoder.secret_not_allowed(entry));
                continue;
            }
            [entry] if entry.name().is_none() && child.children().is_none() => {
                scalar(entry.value())
            }
            _ => None,
        };
        let Some(value) = value else {
            let message = format!("`{key}` takes one value");
            errors.push(
                decoder
                    .error("spec::type", &message, name_span(source, child))
                    .help(format!("write `{key} \"…\"`, or `{key} #null` for none")),
            );
            continue;
        };
        if map.insert(key.to_owned(), value).is_some() {
            let message = format!("`{key}` is written twice");
            errors.push(
                decoder
                    .error("spec::twice", &message, name_span(source, child))
                    .help("keep one of them"),
            );
        }
    }
    if errors.is_empty() {
        Ok(map.into())
    } else {
        Err(errors)
    }
}

/// Whether a value is the place of a secret.
pub(crate) fn is_secret(entry: &KdlEntry) -> bool {
    entry.ty().is_some_and(|ty| ty.value() == "secret")
}

fn scalar(value: &KdlValue) -> Option<Value> {
    match value {
        KdlValue::String(text) => Some(text.clone().into()),
        KdlValue::Integer(number) => i64::try_from(*number).ok().map(Value::from),
        KdlValue::Float(number) => serde_json::Number::from_f64(*number).map(Value::from),
        KdlValue::Bool(flag) => Some((*flag).into()),
        KdlValue::Null => Some(Value::Null),
    }
}

struct ValueDecoder<'a> {
    source: &'a Arc<Source>,
    address: &'a Address,
    attribute: &'a Attribute,
}

impl ValueDecoder<'_> {
    fn secret_not_allowed(&self, entry: &KdlEntry) -> SpecError {
        let fact = format!(
            "`{}` cannot be a secret: plans would show it",
            self.attribute.name
        );
        self.error_at("spec::secret", &fact, entry)
            .help("put the secret into a file of its own and name that file here; `stead kinds` lists the kinds that take one")
    }

    fn list(&self, values: &[&KdlEntry], span: &Span) -> Decoded {
        if let Some(secret) = values.iter().find(|entry| is_secret(entry)) {
            return Decoded::Invalid(vec![self.secret_not_allowed(secret)]);
        }
        if values.is_empty() {
            let message = format!("`{}` takes no values", self.attribute.name);
            return Decoded::Invalid(vec![
                self.error("spec::type", &message, span.clone())
                    .help(self.usage()),
            ]);
        }
        let (texts, errors): (Vec<_>, Vec<_>) = values
            .iter()
            .map(|entry| self.text(entry))
            .partition(Result::is_ok);
        if errors.is_empty() {
            return Decoded::Value(texts.into_iter().flatten().collect());
        }
        Decoded::Invalid(errors.into_iter().filter_map(Result::err).collect())
    }

    /// Takes the place of a secret. What is not annotated would be the secret itself, and that is not told.
    fn secret(&self, entry: &KdlEntry) -> Result<String, SpecError> {
        if is_secret(entry) {
            return self.text(entry);
        }
        let fact = format!(
            "`{}` is a secret, and a spec must not contain one",
            self.attribute.name
        );
        Err(self
            .error_at("spec::secret", &fact, entry)
            .help("write its source: `(secret)\"file:/PATH\"`"))
    }

    fn scalar_value(&self, entry: &KdlEntry) -> Result<Value, SpecError> {
        if is_secret(entry) && self.attribute.shape != Shape::Secret {
            return Err(self.secret_not_allowed(entry));
        }
        match self.attribute.shape {
            Shape::Text | Shape::List | Shape::Entries | Shape::Map => {
                self.text(entry).map(Value::from)
            }
            Shape::Secret => self.secret(entry).map(Value::from),
            Shape::Flag => match entry.value() {
                KdlValue::Bool(flag) => Ok((*flag).into()),
                KdlValue::String(text) if text == "true" || text == "false" => Err(self
                    .wrong_type(entry, "`#true` or `#false`")
                    .help(format!("write `#{text}` without quotes"))),
                _ => Err(self.wrong_type(entry, "`#true` or `#false`")),
            },
            Shape::Integer => match entry.value() {
                KdlValue::Integer(number) => i64::try_from(*number)
                    .map(Value::from)
                    .map_err(|_| self.wrong_type(entry, "a whole number of 64 bits")),
                _ => Err(self.wrong_type(entry, "a whole number")),
            },
            Shape::OneOf(words) => {
                let text = self.text(entry)?;
                if words.contains(&text.as_str()) {
                    return Ok(text.into());
                }
                Err(self
                    .error_at(
                        "spec::unknown-value",
                        &format!("`{text}` is not a value of `{}`", self.attribute.name),
                        entry,
                    )
                    .help(suggest::did_you_mean(
                        "write one of",
                        &text,
                        words.iter().copied(),
                    )))
            }
            Shape::Path => {
                let text = self.text(entry)?;
                let dir = self.source.path.parent().map(|dir| dir.join(&text));
                let path =
                    absolute(dir.unwrap_or_else(|| text.clone().into())).map_err(|error| {
                        self.error_at(
                            "spec::value",
                            &format!("`{text}` is not a path: {error}"),
                            entry,
                        )
                    })?;
                path.to_str().map(Value::from).ok_or_else(|| {
                    self.error_at(
                        "spec::value",
                        "the path of the directory of the spec is not UTF-8",
                        entry,
                    )
                })
            }
        }
    }

    fn text(&self, entry: &KdlEntry) -> Result<String, SpecError> {
        // A number that comes from elsewhere cannot be put in quotes where it is used.
        let number = entry.value().as_integer().filter(|_| is_deferred(entry));
        let number = number.map(|number| number.to_string());
        let Some(text) = number.as_deref().or_else(|| entry.value().as_string()) else {
            return Err(self.wrong_type(entry, "a text"));
        };
        if text.contains('\0') {
            return Err(self.error_at(
                "spec::value",
                &format!("`{}` contains a NUL character", self.attribute.name),
                entry,
            ));
        }
        if let Some(Err(problem)) = self.attribute.check.map(|check| check(text)) {
            let error = self.error_at("spec::value", &problem.message, entry);
            return Err(match problem.help {
                Some(help) => error.help(help),
                None => error,
            });
        }
        Ok(text.to_owned())
    }

    fn wrong_type(&self, entry: &KdlEntry, expected: &str) -> SpecError {
        let text = source_text(self.source, entry);
        let name = self.attribute.name;
        if entry.value().is_null() {
            return self
                .error_at("spec::null", &format!("`{name}` cannot be `#null`"), entry)
                .help("omit an attribute that is not to be managed");
        }
        let error = self.error_at(
            "spec::type",
            &format!("`{name}` is {expected}, and `{text}` is not"),
            entry,
        );
        match (expected, entry.value()) {
            ("a text", KdlValue::Integer(_) | KdlValue::Float(_) | KdlValue::Bool(_)) => error
                .help(format!(
                    "write it in quotes: `\"{}\"`",
                    text.trim_start_matches('#')
                )),
            _ => error,
        }
    }

    fn usage(&self) -> String {
        let name = self.attribute.name;
        match self.attribute.shape {
            Shape::Flag => format!("write `{name}=#true` or `{name}=#false`"),
            Shape::Integer => format!("write `{name}=1`"),
            Shape::List | Shape::Entries => {
                format!("write `{name} \"…\" \"…\"` between the braces")
            }
            Shape::Map => format!("write `{name} {{ KEY \"…\" }}`"),
            Shape::OneOf(words) => format!("write `{name}=\"{}\"`", words.first().unwrap_or(&"…")),
            Shape::Text | Shape::Path => format!("write `{name}=\"…\"`"),
            Shape::Secret => format!("write `{name}=(secret)\"file:/PATH\"`"),
        }
    }

    fn error_at(&self, code: &'static str, message: &str, entry: &KdlEntry) -> SpecError {
        self.error(code, message, value_span(self.source, entry))
    }

    fn error(&self, code: &'static str, message: &str, span: Span) -> SpecError {
        SpecError::new(code, format!("{}: {message}", self.address), span)
    }
}

/// Whether a value comes from elsewhere.
pub(crate) fn is_deferred(entry: &KdlEntry) -> bool {
    entry
        .ty()
        .is_some_and(|ty| matches!(ty.value(), "var" | "env" | "fact"))
}
