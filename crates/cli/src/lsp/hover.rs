//! Hover texts: the reference of a word of a spec, and its value on this host.

use std::{fmt::Write as _, time::Duration};

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};
use stead_engine::{
    language::editor::{COMMON_ATTRIBUTES, CompletionContext, Reference, Word, reference_at},
    model::schema::{Absence, Attribute, Schema},
    provider::erased::DynProvider,
};
use stead_resources::facts::FACTS;

use crate::{
    lsp::{host_cache::HostCache, position::DocumentPosition},
    render::{attribute_text, shape_text},
    spec_input::SpecOverrides,
};

/// How long the facts of this host are waited for.
const FACTS_TIMEOUT: Duration = Duration::from_millis(500);

/// Explains what stands at a place.
pub(crate) fn hover(
    position: &DocumentPosition<'_>,
    overrides: &SpecOverrides,
    cache: &HostCache,
) -> Option<Hover> {
    let cursor = position.cursor();
    let word = cursor.word?;
    let mut blanks = cursor.contexts.iter();
    let text = match reference_at(&cursor) {
        Some(used) => describe_reference(position, overrides, &used),
        None => blanks.find_map(|blank| describe_context(position, cache, blank, word)),
    };
    Some(Hover {
        contents: HoverContents::Markup(MarkupContent {
            kind: MarkupKind::Markdown,
            value: text?,
        }),
        range: Some(position.range(word.range.clone())),
    })
}

fn describe_reference(
    position: &DocumentPosition<'_>,
    overrides: &SpecOverrides,
    used: &Reference,
) -> Option<String> {
    let (title, declared) = match used {
        Reference::Resource(address) => (format!("`{address}`"), position.resources(address)),
        Reference::Profile(name) => (format!("profile `{name}`"), position.profiles(name)),
        Reference::File(written) => {
            return Some(format!(
                "`{}`",
                position.file.include_path(written).display()
            ));
        }
        Reference::Variable(name) => {
            let mut text = format!("variable `{name}`");
            if let Some(given) = overrides
                .assignments
                .iter()
                .rev()
                .find(|given| given.name() == name)
            {
                write!(text, "  \ngiven: `{}`", given.source_text()).expect("a String takes it");
            }
            let declared = position.variables(name);
            for (variable, declared) in &declared {
                let default = match &variable.default {
                    Some(default) => format!("default `{default}`"),
                    None => "no default: it must be given".to_owned(),
                };
                write!(text, "  \n{default}, {}", declared.location_text())
                    .expect("a String takes it");
            }
            return Some(text).filter(|_| !declared.is_empty());
        }
    };
    let places = declared.iter();
    let places = places.map(|it| format!("{}\n```kdl\n{}\n```", it.location_text(), it.line()));
    let places: Vec<_> = places.collect();
    (!places.is_empty()).then(|| format!("{title}\n\n{}", places.join("\n")))
}

fn describe_context(
    position: &DocumentPosition<'_>,
    cache: &HostCache,
    context: &CompletionContext<'_>,
    word: &Word,
) -> Option<String> {
    let schema_of = |kind: &str| position.registry.get(kind).map(DynProvider::schema);
    let text = word.text.as_str();
    match context {
        CompletionContext::Node { has_kinds, .. } => match schema_of(text).filter(|_| *has_kinds) {
            Some(schema) => Some(describe_kind(text, &schema)),
            None => Some(format!("**{text}**\n\n{}", context.meaning(text)?)),
        },
        CompletionContext::Property(_) => Some(format!("**{text}**\n\n{}", context.meaning(text)?)),
        CompletionContext::Attribute(node) | CompletionContext::Child(node) => {
            let schema = schema_of(&node.name.text)?;
            let generic = COMMON_ATTRIBUTES.iter().find(|(name, _)| *name == text);
            match (generic, schema.absence) {
                (Some(("absent", _)), Absence::Refused(why)) => {
                    Some(format!("**absent**\n\nNot possible: {why}."))
                }
                (Some((name, meaning)), _) => Some(format!("**{name}**\n\n{meaning}")),
                (None, _) => Some(describe_attribute(&schema, schema.user_attribute(text)?)),
            }
        }
        CompletionContext::Key(_, of) => Some(format!("**{text}**\n\n{}", of.doc)),
        CompletionContext::Name(node) => {
            let schema = schema_of(&node.name.text)?;
            Some(format!(
                "`{}:{text}`\n\nName: {}.",
                node.name.text, schema.name
            ))
        }
        CompletionContext::Value(node, of) => {
            Some(describe_attribute(&schema_of(&node.name.text)?, of))
        }
        CompletionContext::Fact => describe_fact(cache, text),
        _ => None,
    }
}

/// Describes a fact, with what it is on this host.
fn describe_fact(cache: &HostCache, name: &str) -> Option<String> {
    let (_, doc) = FACTS.iter().find(|(fact, _)| *fact == name)?;
    let facts = cache.facts(FACTS_TIMEOUT);
    let here = match facts.as_ref().and_then(|facts| facts.0.get(name)) {
        Some(value) => format!("Here: `{value}`"),
        None => "Not read yet.".to_owned(),
    };
    Some(format!("fact `{name}`\n\n{doc}\n\n{here}"))
}

/// Describes an attribute.
pub(crate) fn describe_attribute(schema: &Schema, attribute: &Attribute) -> String {
    format!(
        "**{}** ({})\n\n{}",
        attribute.name,
        shape_text(attribute.shape),
        attribute_text(schema, attribute)
    )
}

/// Describes a kind, with its example and its attributes.
pub(crate) fn describe_kind(name: &str, schema: &Schema) -> String {
    let mut text = format!(
        "**{name}**: {}\n\n```kdl\n{}\n```\n\nName: {}.\n",
        schema.summary,
        schema.example.trim_end(),
        schema.name
    );
    let written = schema.attributes.iter();
    for attribute in written.filter(|attribute| attribute.role.is_user_written()) {
        write!(
            text,
            "\n- `{}` ({}): {}",
            attribute.name,
            shape_text(attribute.shape),
            attribute.doc
        )
        .expect("a String takes it");
    }
    for (name, doc) in COMMON_ATTRIBUTES {
        let doc = match (name, schema.absence) {
            ("absent", Absence::Refused(why)) => format!("Not possible: {why}."),
            _ => doc.to_owned(),
        };
        write!(text, "\n- `{name}`: {doc}").expect("a String takes it");
    }
    text
}
