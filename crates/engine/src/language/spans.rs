//! The spans of a node, an entry, its name and its value.

use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};

use crate::language::source::{Source, Span};

/// Returns where an entry stands, name and value, without the blanks around it.
pub(crate) fn entry_span(source: &Arc<Source>, entry: &KdlEntry) -> Span {
    let span = entry.span();
    trim(source, span.offset(), span.offset() + span.len())
}

/// Returns where the value of an entry stands.
pub(crate) fn value_span(source: &Arc<Source>, entry: &KdlEntry) -> Span {
    let whole = entry_span(source, entry);
    let end = whole.offset + whole.length;
    let Some(name) = entry.name() else {
        return whole;
    };
    let after = name.span().offset() + name.span().len();
    let equals = source.text.get(after..end).and_then(|rest| rest.find('='));
    equals.map_or_else(|| whole.clone(), |at| trim(source, after + at + 1, end))
}

/// Returns the value of an entry as it was written.
pub(crate) fn source_text(source: &Arc<Source>, entry: &KdlEntry) -> String {
    let span = value_span(source, entry);
    source.text[span.offset..span.offset + span.length].to_owned()
}

fn trim(source: &Arc<Source>, start: usize, end: usize) -> Span {
    let text = &source.text[start.min(source.text.len())..end.min(source.text.len())];
    let start = start + (text.len() - text.trim_start().len());
    Span::new(source, start..start + text.trim().len())
}

/// Returns the span of a node without its children.
pub(crate) fn head_span(source: &Arc<Source>, node: &KdlNode) -> Span {
    let start = node.name().span().offset();
    let end = node.entries().last().map_or_else(
        || start + node.name().span().len(),
        |entry| {
            let span = entry_span(source, entry);
            span.offset + span.length
        },
    );
    Span::new(source, start..end.max(start))
}

/// Returns the span of the name of a node.
pub(crate) fn name_span(source: &Arc<Source>, node: &KdlNode) -> Span {
    let span = node.name().span();
    Span::new(source, span.offset()..span.offset() + span.len())
}
