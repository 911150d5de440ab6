//! Completion: what may be written at a position.

use std::{ops::Range, path::Path, time::Duration};

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionTextEdit, Documentation,
    MarkupContent, MarkupKind, TextEdit,
};
use stead_engine::{
    language::editor::{COMMON_ATTRIBUTES, CompletionContext, Cursor, Node},
    model::{
        facts::Fact,
        schema::{Absence, Attribute, Shape},
    },
};
use stead_resources::facts::FACTS;

use super::hover::{describe_attribute, describe_kind};
use crate::lsp::{
    host_cache::{HostCache, HostQuery},
    position::DocumentPosition,
};
use crate::render::shape_text;

/// How long the host is waited for; whoever types asks again.
const HOST_TIMEOUT: Duration = Duration::from_millis(250);
/// What may stand before a value.
const ANNOTATIONS: [(&str, &str); 4] = [
    ("var", "The value of a variable."),
    ("env", "An environment variable."),
    ("fact", "A fact of this host."),
    ("secret", "The source of a secret."),
];

/// Lists what may be written at a place.
pub(crate) fn completion(position: &DocumentPosition<'_>, cache: &HostCache) -> CompletionList {
    let cursor = position.cursor();
    let mut list = CompletionBuilder {
        edit: InsertEdit::at(position, &cursor),
        items: vec![],
        is_incomplete: false,
    };
    if !list.edit.is_between_words {
        for context in &cursor.contexts {
            list.add(position, cache, &cursor, context);
        }
    }
    CompletionList {
        is_incomplete: list.is_incomplete,
        items: list.items,
    }
}

struct CompletionBuilder {
    edit: InsertEdit,
    items: Vec<CompletionItem>,
    is_incomplete: bool,
}

/// What takes the place of what is typed.
struct InsertEdit {
    range: lsp_types::Range,
    /// Whether it stands in quotes, and whether these have to be closed.
    quotes: Quotes,
    /// Whether a `=` follows.
    has_equals: bool,
    /// Whether the place is at the outer side of a quote, where nothing belongs.
    is_between_words: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Quotes {
    None,
    Both,
    Opened,
}

impl InsertEdit {
    fn at(position: &DocumentPosition<'_>, cursor: &Cursor<'_>) -> Self {
        let (text, offset) = (&position.file.text, position.offset);
        let mut range = offset..offset;
        let mut quotes = Quotes::None;
        let mut is_between_words = false;
        if let Some(word) = cursor.word {
            let Range { start, end } = word.inside;
            is_between_words = offset < start || offset > end;
            range = start..end;
            if word.is_quoted() {
                let is_closed = word.range.end > end;
                // Where it is not closed, the rest of the line may be something else.
                quotes = if !is_closed && offset == end {
                    Quotes::Opened
                } else {
                    Quotes::Both
                };
                if !is_closed {
                    range.end = offset.max(start);
                }
            }
        }
        let has_equals = text[range.end..].starts_with('=');
        Self {
            range: position.range(range),
            quotes,
            has_equals,
            is_between_words,
        }
    }

    /// Writes a text as a value.
    fn text(&self, text: &str) -> String {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        match self.quotes {
            Quotes::None => format!("\"{escaped}\""),
            Quotes::Both => escaped,
            Quotes::Opened => format!("{escaped}\""),
        }
    }

    /// Writes a text as the name of a node.
    fn name(&self, text: &str) -> String {
        let is_word = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !text.starts_with(|c: char| c.is_ascii_digit() || "-.".contains(c));
        if self.quotes == Quotes::None && is_word {
            text.to_owned()
        } else {
            self.text(text)
        }
    }
}

impl CompletionBuilder {
    fn add(
        &mut self,
        position: &DocumentPosition<'_>,
        cache: &HostCache,
        cursor: &Cursor<'_>,
        context: &CompletionContext<'_>,
    ) {
        match context {
            CompletionContext::Node { words, has_kinds } => self.nodes(position, words, *has_kinds),
            CompletionContext::Property(node) => self.properties(node, cursor, context),
            CompletionContext::Attribute(node) => {
                self.attributes(position, node, cursor, AttributeForm::Property);
            }
            CompletionContext::Child(node) => {
                self.attributes(position, node, cursor, AttributeForm::Child);
            }
            CompletionContext::Value(_, attribute) => self.values(position, cursor, attribute),
            CompletionContext::KeyValue(..) => self.word("#null", "Makes it not exist."),
            CompletionContext::Annotation => {
                for (name, doc) in ANNOTATIONS {
                    self.push(CompletionItemKind::KEYWORD, name, name.to_owned(), doc);
                }
            }
            CompletionContext::Flag => self.flags(),
            CompletionContext::OneOf(words) => self.texts(words.iter().copied(), ""),
            CompletionContext::Address => self.addresses(position),
            CompletionContext::Variable => self.variables(position),
            CompletionContext::Profile => {
                let files = position.files.iter();
                for (name, _) in files.flat_map(|file| &file.names.profiles) {
                    self.texts([name.as_str()], "profile");
                }
            }
            CompletionContext::Fact => self.facts(cache),
            CompletionContext::FactValue(name) => self.fact_value(cache, name),
            CompletionContext::File => self.files(position, cursor, Some("kdl")),
            CompletionContext::Key(..) | CompletionContext::Name(_) => {}
        }
        self.suggestions(cache, context);
    }

    fn push(&mut self, kind: CompletionItemKind, label: &str, text: String, detail: &str) {
        if self.items.iter().any(|item| item.label == label) {
            return;
        }
        self.items.push(CompletionItem {
            label: label.to_owned(),
            kind: Some(kind),
            detail: Some(detail.to_owned()).filter(|detail| !detail.is_empty()),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit::new(
                self.edit.range,
                text,
            ))),
            ..CompletionItem::default()
        });
    }

    /// Explains what was added last.
    fn explain(&mut self, markdown: String) {
        if let Some(item) = self.items.last_mut() {
            item.documentation = Some(Documentation::MarkupContent(MarkupContent {
                kind: MarkupKind::Markdown,
                value: markdown,
            }));
        }
    }

    fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>, detail: &str) {
        for text in texts {
            let written = self.edit.text(text);
            self.push(CompletionItemKind::VALUE, text, written, detail);
        }
    }

    /// Adds a word that has no quotes.
    fn word(&mut self, word: &str, detail: &str) {
        if self.edit.quotes == Quotes::None {
            self.push(CompletionItemKind::VALUE, word, word.to_owned(), detail);
        }
    }

    fn flags(&mut self) {
        self.word("#true", "");
        self.word("#false", "");
    }

    fn nodes(&mut self, position: &DocumentPosition<'_>, words: &[(&str, &str)], has_kinds: bool) {
        for (word, meaning) in words {
            let text = self.edit.name(word);
            self.push(CompletionItemKind::KEYWORD, word, text, meaning);
        }
        for (name, of) in position.registry.iter().filter(|_| has_kinds) {
            let schema = of.schema();
            let text = self.edit.name(name);
            self.push(CompletionItemKind::CLASS, name, text, schema.summary);
            self.explain(describe_kind(name, &schema));
        }
    }

    fn properties(&mut self, node: &Node, cursor: &Cursor<'_>, context: &CompletionContext<'_>) {
        for (name, meaning) in context.properties() {
            if is_unused(node, cursor, name) {
                self.property(name, meaning);
            }
        }
    }

    fn property(&mut self, name: &str, detail: &str) {
        let equals = if self.edit.has_equals { "" } else { "=" };
        let text = format!("{name}{equals}");
        self.push(CompletionItemKind::PROPERTY, name, text, detail);
    }

    fn attributes(
        &mut self,
        position: &DocumentPosition<'_>,
        node: &Node,
        cursor: &Cursor<'_>,
        form: AttributeForm,
    ) {
        let Some(of) = position.registry.get(&node.name.text) else {
            return;
        };
        let schema = of.schema();
        let written = schema
            .attributes
            .iter()
            .filter(|one| one.role.is_user_written());
        for one in written {
            let fits = match (form, one.shape) {
                (_, Shape::Entries) | (AttributeForm::Property, Shape::Map | Shape::List) => false,
                (AttributeForm::Property | AttributeForm::Child, _) => true,
            };
            if fits && is_unused(node, cursor, one.name) {
                self.attribute(form, one.name, &shape_text(one.shape));
                self.explain(describe_attribute(&schema, one));
            }
        }
        for (name, meaning) in COMMON_ATTRIBUTES {
            let fits = match name {
                "absent" => schema.absence == Absence::Allowed,
                "override" => form == AttributeForm::Property,
                _ => true,
            };
            if fits && (name == "needs" || is_unused(node, cursor, name)) {
                self.attribute(form, name, meaning);
            }
        }
    }

    fn attribute(&mut self, form: AttributeForm, name: &str, detail: &str) {
        match form {
            AttributeForm::Property => self.property(name, detail),
            AttributeForm::Child => {
                let text = self.edit.name(name);
                self.push(CompletionItemKind::PROPERTY, name, text, detail);
            }
        }
    }

    fn values(
        &mut self,
        position: &DocumentPosition<'_>,
        cursor: &Cursor<'_>,
        attribute: &Attribute,
    ) {
        match attribute.shape {
            Shape::Flag => self.flags(),
            Shape::OneOf(words) => self.texts(words.iter().copied(), ""),
            Shape::Path => self.files(position, cursor, None),
            Shape::Text
            | Shape::Integer
            | Shape::Secret
            | Shape::List
            | Shape::Map
            | Shape::Entries => {}
        }
    }

    fn addresses(&mut self, position: &DocumentPosition<'_>) {
        for file in &position.files {
            for (address, _) in &file.names.resources {
                self.texts([address.to_string().as_str()], "");
            }
        }
    }

    fn variables(&mut self, position: &DocumentPosition<'_>) {
        for file in &position.files {
            for variable in &file.names.variables {
                let detail = variable.default.as_deref().unwrap_or("no default");
                self.texts([variable.name.as_str()], detail);
            }
        }
    }

    fn facts(&mut self, cache: &HostCache) {
        let facts = cache.facts(Duration::ZERO).unwrap_or_default();
        for (name, doc) in FACTS {
            let here = facts.0.get(name).map(ToString::to_string);
            self.texts([name], &here.unwrap_or_default());
            self.explain(doc.to_owned());
        }
    }

    fn fact_value(&mut self, cache: &HostCache, name: &str) {
        let Some(facts) = cache.facts(HOST_TIMEOUT) else {
            self.is_incomplete = true;
            return;
        };
        match facts.0.get(name) {
            Some(Fact::Text(text)) => self.texts([text.as_str()], "its value on this host"),
            Some(Fact::Number(number)) => self.word(&number.to_string(), "its value on this host"),
            None => {}
        }
    }

    /// Lists what is in the directory that the path typed so far names.
    fn files(
        &mut self,
        position: &DocumentPosition<'_>,
        cursor: &Cursor<'_>,
        extension: Option<&str>,
    ) {
        let typed = cursor.word.map_or("", |word| {
            let end = position.offset.clamp(word.inside.start, word.inside.end);
            &position.file.text[word.inside.start..end]
        });
        let dir = typed.rfind('/').map_or("", |at| &typed[..=at]);
        for (name, is_folder) in list_dir(&position.file.include_path(dir)) {
            let path = Path::new(&name);
            let fits = extension.is_none_or(|it| path.extension().is_some_and(|is| is == it));
            let is_itself = position.file.include_path(dir).join(path) == position.file.path;
            if is_folder {
                self.texts([format!("{dir}{name}/").as_str()], "");
            } else if fits && !is_itself {
                self.texts([format!("{dir}{name}").as_str()], "");
            }
        }
    }

    /// Adds what this host knows.
    fn suggestions(&mut self, cache: &HostCache, context: &CompletionContext<'_>) {
        let Some((node, gap)) = context.target() else {
            return;
        };
        let is_name = matches!(context, CompletionContext::Name(_));
        let name = node.argument(0).filter(|_| !is_name);
        let query = HostQuery {
            kind: node.name.text.clone(),
            name: name.map_or("", |name| &name.text).to_owned(),
            gap,
        };
        let Some(texts) = cache.suggestions(&query, HOST_TIMEOUT) else {
            self.is_incomplete = true;
            return;
        };
        for text in texts {
            if let CompletionContext::Key(..) = context {
                let written = self.edit.name(&text);
                self.push(CompletionItemKind::VALUE, &text, written, "of this host");
            } else {
                self.texts([text.as_str()], "of this host");
            }
        }
    }
}

/// In which form an attribute is written.
#[derive(Clone, Copy, PartialEq)]
enum AttributeForm {
    Property,
    Child,
}

/// Whether an attribute is not written yet, unless it is the one that is just being typed.
fn is_unused(node: &Node, cursor: &Cursor<'_>, name: &str) -> bool {
    let properties = node
        .entries
        .iter()
        .filter_map(|entry| entry.property.as_ref());
    let children = node.children.iter().map(|child| &child.name);
    let mut written = properties.chain(children);
    let is_typed = |range: &Range<usize>| cursor.word.is_some_and(|word| word.range == *range);
    !written.any(|word| word.text == name && !is_typed(&word.range))
}

/// Lists a directory, each name with whether it is a directory itself; hidden ones are left out.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn list_dir(dir: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let is_folder = entry.file_type().ok()?.is_dir();
        let name = entry.file_name().into_string().ok()?;
        (!name.starts_with('.')).then_some((name, is_folder))
    });
    let mut named: Vec<_> = named.take(1_000).collect();
    named.sort();
    named
}
