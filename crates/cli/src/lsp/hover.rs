//! Hover texts: the reference of a word of a spec, and its value on this host.

use std::{fmt::Write as _, time::Duration};

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};
use stead_engine::{
    language::editor::{Blank, GENERIC, Use, Word, used_at},
    model::schema::{Absence, Attribute, Schema},
    provider::erased::DynProvider,
};
use stead_resources::facts::FACTS;

use crate::{
    lsp::{host_cache::Known, position::Place},
    render::{meaning, shape},
    spec_input::Told,
};

/// How long the facts of this host are waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Explains what stands at a place.
pub(crate) fn hover(place: &Place<'_>, told: &Told, known: &Known) -> Option<Hover> {
    let cursor = place.cursor();
    let word = cursor.word?;
    let mut blanks = cursor.blanks.iter();
    let text = match used_at(&cursor) {
        Some(used) => of_use(place, told, &used),
        None => blanks.find_map(|blank| of_blank(place, known, blank, word)),
    };
    Some(Hover {
        contents: HoverContents::Markup(MarkupContent {
            kind: MarkupKind::Markdown,
            value: text?,
        }),
        range: Some(place.range(word.range.clone())),
    })
}

fn of_use(place: &Place<'_>, told: &Told, used: &Use) -> Option<String> {
    let (title, declared) = match used {
        Use::Resource(address) => (format!("`{address}`"), place.resources(address)),
        Use::Profile(name) => (format!("profile `{name}`"), place.profiles(name)),
        Use::File(written) => return Some(format!("`{}`", place.file.include(written).display())),
        Use::Variable(name) => {
            let mut text = format!("variable `{name}`");
            if let Some(given) = told.given.iter().rev().find(|given| given.name() == name) {
                write!(text, "  \ngiven: `{}`", given.shown()).expect("a String takes it");
            }
            let declared = place.variables(name);
            for (variable, declared) in &declared {
                let default = match &variable.default {
                    Some(default) => format!("default `{default}`"),
                    None => "no default: it must be given".to_owned(),
                };
                write!(text, "  \n{default}, {}", declared.place()).expect("a String takes it");
            }
            return Some(text).filter(|_| !declared.is_empty());
        }
    };
    let places = declared.iter();
    let places = places.map(|it| format!("{}\n```kdl\n{}\n```", it.place(), it.line()));
    let places: Vec<_> = places.collect();
    (!places.is_empty()).then(|| format!("{title}\n\n{}", places.join("\n")))
}

fn of_blank(place: &Place<'_>, known: &Known, blank: &Blank<'_>, word: &Word) -> Option<String> {
    let schema_of = |kind: &str| place.registry.get(kind).map(DynProvider::schema);
    let text = word.text.as_str();
    match blank {
        Blank::Node { has_kinds, .. } => match schema_of(text).filter(|_| *has_kinds) {
            Some(schema) => Some(kind(text, &schema)),
            None => Some(format!("**{text}**\n\n{}", blank.meaning(text)?)),
        },
        Blank::Property(_) => Some(format!("**{text}**\n\n{}", blank.meaning(text)?)),
        Blank::Attribute(node) | Blank::Child(node) => {
            let schema = schema_of(&node.name.text)?;
            let generic = GENERIC.iter().find(|(name, _)| *name == text);
            match (generic, schema.absence) {
                (Some(("absent", _)), Absence::Refused(why)) => {
                    Some(format!("**absent**\n\nNot possible: {why}."))
                }
                (Some((name, meaning)), _) => Some(format!("**{name}**\n\n{meaning}")),
                (None, _) => Some(attribute(&schema, schema.written(text)?)),
            }
        }
        Blank::Key(_, of) => Some(format!("**{text}**\n\n{}", of.doc)),
        Blank::Name(node) => {
            let schema = schema_of(&node.name.text)?;
            Some(format!(
                "`{}:{text}`\n\nName: {}.",
                node.name.text, schema.name
            ))
        }
        Blank::Value(node, of) => Some(attribute(&schema_of(&node.name.text)?, of)),
        Blank::Fact => fact(known, text),
        _ => None,
    }
}

/// Describes a fact, with what it is on this host.
fn fact(known: &Known, name: &str) -> Option<String> {
    let (_, doc) = FACTS.iter().find(|(fact, _)| *fact == name)?;
    let facts = known.facts(PATIENCE);
    let here = match facts.as_ref().and_then(|facts| facts.0.get(name)) {
        Some(value) => format!("Here: `{value}`"),
        None => "Not read yet.".to_owned(),
    };
    Some(format!("fact `{name}`\n\n{doc}\n\n{here}"))
}

/// Describes an attribute.
pub(crate) fn attribute(schema: &Schema, attribute: &Attribute) -> String {
    format!(
        "**{}** ({})\n\n{}",
        attribute.name,
        shape(attribute.shape),
        meaning(schema, attribute)
    )
}

/// Describes a kind, with its example and its attributes.
pub(crate) fn kind(name: &str, schema: &Schema) -> String {
    let mut text = format!(
        "**{name}**: {}\n\n```kdl\n{}\n```\n\nName: {}.\n",
        schema.summary,
        schema.example.trim_end(),
        schema.name
    );
    let written = schema.attributes.iter();
    for attribute in written.filter(|attribute| attribute.role.is_written()) {
        write!(
            text,
            "\n- `{}` ({}): {}",
            attribute.name,
            shape(attribute.shape),
            attribute.doc
        )
        .expect("a String takes it");
    }
    for (name, doc) in GENERIC {
        let doc = match (name, schema.absence) {
            ("absent", Absence::Refused(why)) => format!("Not possible: {why}."),
            _ => doc.to_owned(),
        };
        write!(text, "\n- `{name}`: {doc}").expect("a String takes it");
    }
    text
}
