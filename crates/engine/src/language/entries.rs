//! The entries of a node after its name, in any form, with their spans.

use std::sync::Arc;

use kdl::{KdlDocument, KdlEntry, KdlNode};

use crate::{
    language::{
        source::{Source, Span},
        spans::{entry_span, head_span, name_span, value_span},
    },
    model::schema::Schema,
};

/// One attribute as it was written: `name=value`, or a child node.
pub(crate) struct AttributeEntry<'a> {
    pub(crate) name: &'a str,
    /// Where the name stands.
    pub(crate) name_span: Span,
    /// Where all of it stands.
    pub(crate) span: Span,
    pub(crate) values: Vec<&'a KdlEntry>,
    /// What stands in it that an attribute cannot have: a property or a child of its own.
    pub(crate) nested: Option<Span>,
    /// The child nodes in it.
    pub(crate) children: &'a [KdlNode],
    pub(crate) form: EntryForm,
}

/// In which form.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum EntryForm {
    Main,
    Property,
    Child,
}

impl AttributeEntry<'_> {
    /// Returns where the value stands, or all of it where there are several.
    pub(crate) fn value_span(&self, source: &Arc<Source>) -> Span {
        match self.values.as_slice() {
            [only] => value_span(source, only),
            _ => self.span.clone(),
        }
    }
}

/// Collects everything that is written in a node behind its name.
pub(crate) fn attribute_entries<'n>(
    source: &Arc<Source>,
    node: &'n KdlNode,
    main: Option<&'n KdlEntry>,
    schema: &Schema,
) -> Vec<AttributeEntry<'n>> {
    let mut written = vec![];
    if let (Some(entry), Some(name)) = (main, schema.main) {
        written.push(AttributeEntry {
            name,
            name_span: value_span(source, entry),
            span: entry_span(source, entry),
            values: vec![entry],
            nested: None,
            children: &[],
            form: EntryForm::Main,
        });
    }
    for entry in node.entries() {
        if let Some(name) = entry.name() {
            let span = name.span();
            written.push(AttributeEntry {
                name: name.value(),
                name_span: Span::new(source, span.offset()..span.offset() + span.len()),
                span: entry_span(source, entry),
                values: vec![entry],
                nested: None,
                children: &[],
                form: EntryForm::Property,
            });
        }
    }
    for child in node.children().map_or(&[][..], KdlDocument::nodes) {
        written.push(AttributeEntry {
            name: child.name().value(),
            name_span: name_span(source, child),
            span: head_span(source, child),
            values: child.entries().iter().collect(),
            nested: nested(source, child),
            children: child.children().map_or(&[], KdlDocument::nodes),
            form: EntryForm::Child,
        });
    }
    written
}

fn nested(source: &Arc<Source>, node: &KdlNode) -> Option<Span> {
    let property = node.entries().iter().find(|entry| entry.name().is_some());
    let below = node
        .children()
        .and_then(|children| children.nodes().first());
    property
        .map(|entry| entry_span(source, entry))
        .or_else(|| below.map(|node| name_span(source, node)))
}
