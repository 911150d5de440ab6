//! Prints resources as the source text of a spec, as a person would write it. Pure; the same bytes for the same resources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

use crate::{
    model::{
        schema::{Attribute, Schema, Shape},
        state::{Desired, State},
    },
    provider::{erased::DynProvider, host::Host, registry::Registry},
};

/// What stands above every spec that import writes.
const HEADER: &str =
    "// Created by `stead import`. Edit it; `stead plan` shows what your changes would do.";
/// One level of indentation.
const LEVEL: &str = "    ";

/// Resources to write, by kind.
pub type SpecSections = BTreeMap<String, SpecSection>;

/// The resources of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecSection {
    /// One comment line above them.
    pub heading: String,
    /// The resources, by name.
    pub resources: BTreeMap<String, PrintedResource>,
    /// Names that hold secrets: mentioned, not written.
    pub secrets: BTreeSet<String>,
    /// What no spec can say or should say, each with the reason: mentioned, not written.
    pub omitted: Vec<String>,
}

/// One resource to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintedResource {
    /// What is wanted: of a state only what users may write.
    pub desired: Desired,
    /// Comment lines above it.
    pub notes: Vec<String>,
}

impl SpecSection {
    /// Adds the resources of another group of the same kind.
    pub(crate) fn merge(&mut self, other: Self) {
        self.heading = other.heading;
        self.resources.extend(other.resources);
        self.secrets.extend(other.secrets);
        self.omitted.extend(other.omitted);
    }
}

/// Writes a spec for `host`, in the layout that `format` gives.
pub fn print_spec<H: Host>(registry: &Registry<H>, host: &str, groups: &SpecSections) -> String {
    let mut blocks = vec![];
    for (kind, group) in groups {
        let schema = registry.get(kind).map(DynProvider::schema);
        let mut block = vec![];
        for (name, exported) in &group.resources {
            block.extend(exported.notes.iter().map(|note| comment(note)));
            block.push(node(kind, name, schema.as_ref(), &exported.desired));
        }
        let secrets = group.secrets.iter();
        block.extend(secrets.map(|name| comment(&format!("secret: {kind} {name} left out"))));
        let left_out = group.omitted.iter();
        block.extend(left_out.map(|what| comment(&format!("left out: {what}"))));
        if block.is_empty() {
            continue;
        }
        if !group.heading.is_empty() {
            block.insert(0, comment(&group.heading));
        }
        blocks.push(block.concat());
    }
    let blocks = blocks.join("\n");
    format!("{HEADER}\nhost {} {{\n{blocks}}}\n", quoted(host))
}

/// Whether a spec can hold a text: KDL 2 forbids some characters, even escaped.
pub fn is_representable(text: &str) -> bool {
    !text.chars().any(|c| match c {
        '\n' | '\t' | '\r' => false,
        '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => true,
        other => other.is_control(),
    })
}

/// Whether every text in a value can stand in a spec.
pub(crate) fn is_value_representable(value: &Value) -> bool {
    match value {
        Value::String(text) => is_representable(text),
        Value::Array(values) => values.iter().all(is_value_representable),
        Value::Object(map) => map
            .iter()
            .all(|(key, value)| is_representable(key) && is_value_representable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Returns the part of a state that users write.
pub(crate) fn user_attributes(schema: &Schema, state: &State) -> State {
    let attributes = schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_user_written());
    let set = attributes.filter_map(|attribute| {
        let value = state.get(attribute.name).filter(|value| !value.is_null())?;
        Some((attribute.name.to_owned(), value.clone()))
    });
    set.collect::<serde_json::Map<_, _>>().into()
}

fn comment(text: &str) -> String {
    // A name may hold what ends a line.
    let line: String = text
        .chars()
        .map(|c| {
            if is_representable(c.encode_utf8(&mut [0; 4])) && c != '\n' && c != '\r' {
                c
            } else {
                '\u{fffd}'
            }
        })
        .collect();
    format!("{LEVEL}// {line}\n")
}

fn node(kind: &str, name: &str, schema: Option<&Schema>, desired: &Desired) -> String {
    let mut line = format!("{LEVEL}{kind} {}", quoted(name));
    let Desired::Present(state) = desired else {
        return line + " absent=#true\n";
    };
    let mut children = String::new();
    for attribute in schema.iter().flat_map(|schema| schema.attributes) {
        let Some(value) = state.get(attribute.name).filter(|value| !value.is_null()) else {
            continue;
        };
        let is_main = schema.is_some_and(|schema| schema.main == Some(attribute.name));
        match value {
            Value::Array(_) | Value::Object(_) => add_child(&mut children, attribute, value),
            Value::String(text) if text.contains('\n') => {
                add_line(&mut children, attribute.name, &multiline(text, 3));
            }
            value if is_main => add(&mut line, format_args!(" {}", scalar(value))),
            value => add(
                &mut line,
                format_args!(" {}={}", attribute.name, scalar(value)),
            ),
        }
    }
    if children.is_empty() {
        return line + "\n";
    }
    format!("{line} {{\n{children}{LEVEL}}}\n")
}

fn add_child(children: &mut String, attribute: &Attribute, value: &Value) {
    match (attribute.shape, value) {
        (Shape::Entries, Value::Object(entries)) => {
            for (key, value) in entries {
                add_line(children, &identifier(key), &values(value));
            }
        }
        (Shape::Map, Value::Object(map)) => {
            let mut block = "{\n".to_owned();
            for (key, value) in map {
                let key = identifier(key);
                let value = match value {
                    Value::String(text) => multiline(text, 4),
                    other => scalar(other),
                };
                add(
                    &mut block,
                    format_args!("{}{key} {value}\n", LEVEL.repeat(3)),
                );
            }
            block += &LEVEL.repeat(2);
            add_line(children, attribute.name, &(block + "}"));
        }
        _ => add_line(children, attribute.name, &values(value)),
    }
}

fn add_line(children: &mut String, name: &str, rest: &str) {
    let blank = if rest.is_empty() { "" } else { " " };
    add(
        children,
        format_args!("{}{name}{blank}{rest}\n", LEVEL.repeat(2)),
    );
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more)
        .expect("writing to a String cannot fail");
}

fn values(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(scalar).collect::<Vec<_>>().join(" "),
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "#null".to_owned(),
        Value::Bool(flag) => format!("#{flag}"),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Writes a text of several lines: between three quotes where that says the same, else in one line.
fn multiline(text: &str, level: usize) -> String {
    let is_one_line = !text.trim_end_matches('\n').contains('\n') && !text.ends_with("\n\n");
    let ends_lines = |c: char| "\r\u{85}\u{b}\u{c}\u{2028}\u{2029}".contains(c);
    // KDL takes a line of nothing but blanks for an empty one.
    let has_lost_blanks = text
        .split('\n')
        .any(|line| !line.is_empty() && line.trim().is_empty());
    if is_one_line || has_lost_blanks || text.contains(ends_lines) {
        return quoted(text);
    }
    let hashes = if text.contains('\\') || text.contains("\"\"\"") {
        let mut hashes = "#".to_owned();
        while text.contains(&format!("\"\"\"{hashes}")) {
            hashes.push('#');
        }
        hashes
    } else {
        String::new()
    };
    let indentation = LEVEL.repeat(level);
    let mut block = format!("{hashes}\"\"\"\n");
    for line in text.split('\n') {
        if !line.is_empty() {
            block += &indentation;
            block += line;
        }
        block.push('\n');
    }
    block + &indentation + "\"\"\"" + &hashes
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            '\r' => quoted += "\\r",
            // These end a line.
            '\u{85}' | '\u{2028}' | '\u{2029}' => {
                add(&mut quoted, format_args!("\\u{{{:x}}}", u32::from(c)));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Writes a word as a name: bare where KDL takes it so.
fn identifier(word: &str) -> String {
    let is_bare = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !["true", "false", "null", "inf", "nan"].contains(&word);
    if is_bare {
        word.to_owned()
    } else {
        quoted(word)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kdl::KdlDocument;
    use proptest::prelude::*;

    use super::*;
    use crate::language::{format::format, source::Source};

    /// Writes a text, lays it out and reads it again.
    fn read_back(text: &str) -> (String, String) {
        let node = format!(
            "host \"x\" {{\n    a \"b\" {{\n        c {}\n    }}\n}}\n",
            multiline(text, 3)
        );
        let document = KdlDocument::parse_v2(&node).unwrap();
        let host = document.nodes()[0].children().unwrap();
        let child = &host.nodes()[0].children().unwrap().nodes()[0];
        let read = child.entries()[0].value().as_string().unwrap().to_owned();
        let source = Arc::new(Source::new("host.kdl", node.clone()));
        assert_eq!(format(&source).unwrap(), node, "laid out already");
        (node, read)
    }

    fn check(text: &str, expected: &str) {
        let (node, read) = read_back(text);
        assert_eq!(read, text);
        assert!(node.contains(expected), "{node}");
    }

    #[test]
    fn printed_text_uses_a_readable_string_form() {
        check("one\n", "c \"one\\n\"");
        check(
            "one\n\ntwo\n",
            "\"\"\"\n            one\n\n            two\n\n            \"\"\"",
        );
        check("a \\ b\nc\n", "#\"\"\"\n");
        check("a \"\"\"# b\nc", "##\"\"\"\n");
        check("a\n  \nb\n", "\"a\\n  \\nb\\n\"");
        check("\ta\r\nb\n", "\"\\ta\\r\\nb\\n\"");
        check("", "\"\"");
        check("\n\n", "\"\"\"");
    }

    #[test]
    fn characters_forbidden_by_kdl_are_not_representable() {
        for text in ["\0", "\u{1b}[m", "\u{7f}", "\u{feff}x", "\u{202e}"] {
            assert!(!is_representable(text), "{text:?}");
        }
        assert!(is_representable("ä\t☃\n\r"));
    }

    #[test]
    fn identifier_quotes_words_that_are_no_names() {
        assert_eq!(identifier("proxy-mode"), "proxy-mode");
        for word in ["true", "1st", "-x", "a b", "", "a=b", "a\"b"] {
            assert!(identifier(word).starts_with('"'), "{word}");
        }
    }

    proptest! {
        #[test]
        fn printed_text_is_read_back_unchanged(text in "[ -~\n\t\"\\\\#\u{85}\u{2028}ä]{0,60}") {
            let (_, read) = read_back(&text);
            prop_assert_eq!(read, text);
        }
    }
}
