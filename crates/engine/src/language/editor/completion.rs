//! What may be written at a position of a text.

use crate::{
    language::{
        editor::{
            keywords::{contains_resources, keyword_doc, keywords_at, properties_of},
            outline::{Node, NodeEntry, Outline, Word},
        },
        source::FileRole,
    },
    model::{
        completion::CompletionTarget,
        schema::{Attribute, Schema, Shape},
    },
};

/// A place in a text.
#[derive(Debug)]
pub struct Cursor<'o> {
    /// The word that stands there.
    pub word: Option<&'o Word>,
    /// What may stand there.
    pub contexts: Vec<CompletionContext<'o>>,
}

/// Something that may be written.
#[derive(Debug)]
pub enum CompletionContext<'o> {
    /// The name of a node: a word of the language, each with what it means, or a kind.
    Node {
        /// The words.
        words: &'static [(&'static str, &'static str)],
        /// Whether kinds may stand there.
        has_kinds: bool,
    },
    /// A property of a node that is no resource.
    Property(&'o Node),
    /// An attribute of a resource, as a property.
    Attribute(&'o Node),
    /// An attribute of a resource, as a child.
    Child(&'o Node),
    /// A key of an attribute that takes any: the resource and the attribute.
    Key(&'o Node, &'static Attribute),
    /// The name of a resource.
    Name(&'o Node),
    /// A value of an attribute of a resource.
    Value(&'o Node, &'static Attribute),
    /// A value of a key of an attribute of a resource.
    KeyValue(&'o Node, &'static Attribute, &'o str),
    /// `var`, `env`, `fact` or `secret`.
    Annotation,
    /// `#true` or `#false`.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// The address of a resource.
    Address,
    /// The name of a variable.
    Variable,
    /// The name of a fact.
    Fact,
    /// A value that this fact may have.
    FactValue(&'o str),
    /// The name of a profile.
    Profile,
    /// The path of a file, relative to this one.
    File,
}

impl<'o> CompletionContext<'o> {
    /// Returns the resource that has a gap here.
    pub fn target(&self) -> Option<(&'o Node, CompletionTarget)> {
        let of = |attribute: &Attribute| attribute.name.to_owned();
        match self {
            Self::Name(node) => Some((node, CompletionTarget::Name)),
            Self::Value(node, attribute) => Some((node, CompletionTarget::Value(of(attribute)))),
            Self::Key(node, attribute) => Some((node, CompletionTarget::Key(of(attribute)))),
            Self::KeyValue(node, attribute, key) => Some((
                node,
                CompletionTarget::KeyValue(of(attribute), (*key).to_owned()),
            )),
            _ => None,
        }
    }

    /// Returns what a word of the language means here.
    pub fn meaning(&self, word: &str) -> Option<&'static str> {
        match self {
            Self::Node { .. } => keyword_doc(word),
            Self::Property(_) => {
                let mut properties = self.properties().iter();
                properties
                    .find(|(name, _)| *name == word)
                    .map(|(_, meaning)| *meaning)
            }
            _ => None,
        }
    }

    /// Returns the properties that may stand here, each with what it means.
    pub fn properties(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Property(node) => properties_of(&node.name.text),
            _ => &[],
        }
    }
}

/// Says what stands at a place and what else may. `schema_of` knows the kinds; `role` is `None` where nobody can tell yet what the file
/// is to a spec.
pub fn context_at<'o>(
    outline: &'o Outline,
    offset: usize,
    schema_of: &dyn Fn(&str) -> Option<Schema>,
    role: Option<FileRole>,
) -> Cursor<'o> {
    let mut comments = outline.comments.iter();
    if comments.any(|comment| comment.start < offset && offset <= comment.end) {
        return Cursor {
            word: None,
            contexts: vec![],
        };
    }
    let (around, node) = find_nodes(&outline.nodes, offset);
    let mut holders = around.iter();
    let inner = holders.position(|node| !contains_resources(node));
    let finder = ContextFinder {
        containers: &around[..inner.unwrap_or(around.len())],
        resource_path: inner.map_or(&[], |at| &around[at..]),
        schema_of,
        role,
    };
    let position = node.map_or(CursorPosition::Begin, |node| {
        CursorPosition::locate(node, offset)
    });
    let word = match (&position, node) {
        (CursorPosition::Name, Some(node)) => Some(&node.name),
        (CursorPosition::Property(word) | CursorPosition::Annotation(word), _) => Some(*word),
        (CursorPosition::Argument(_, Some(entry)) | CursorPosition::Value(entry), _) => {
            entry.value.as_ref()
        }
        _ => None,
    };
    let contexts = match node {
        Some(node) if !matches!(position, CursorPosition::Name | CursorPosition::Begin) => {
            finder.inside_node(node, &position)
        }
        _ => finder.at_node_start(),
    };
    Cursor { word, contexts }
}

/// Finds the nodes around a place, and the one in whose head it is.
fn find_nodes(mut nodes: &[Node], offset: usize) -> (Vec<&Node>, Option<&Node>) {
    let mut around = vec![];
    loop {
        let is_in = |node: &&Node| {
            let body = node.body.as_ref();
            body.is_some_and(|body| body.start <= offset && offset <= body.end)
        };
        if let Some(node) = nodes.iter().find(is_in) {
            around.push(node);
            nodes = &node.children;
            continue;
        }
        let is_at = |node: &&Node| node.head.start <= offset && offset <= node.head.end;
        return (around, nodes.iter().rev().find(is_at));
    }
}

/// Where in a node a place is.
enum CursorPosition<'o> {
    Begin,
    Name,
    Annotation(&'o Word),
    Property(&'o Word),
    /// Which argument it is, counted from 0.
    Argument(usize, Option<&'o NodeEntry>),
    /// The value of a property.
    Value(&'o NodeEntry),
}

impl<'o> CursorPosition<'o> {
    fn locate(node: &'o Node, offset: usize) -> Self {
        if node.name.is_at(offset) {
            return Self::Name;
        }
        let mut index = 0;
        for (at, entry) in node.entries.iter().enumerate() {
            let is_last = at + 1 == node.entries.len();
            let is_open = entry.value.is_none() && entry.range.end <= offset && is_last;
            if let Some(word) = entry.annotation.as_ref().filter(|word| word.is_at(offset)) {
                return Self::Annotation(word);
            }
            let is_value = entry.value.as_ref().is_some_and(|word| word.is_at(offset));
            match &entry.property {
                Some(word) if word.is_at(offset) => return Self::Property(word),
                Some(_) if is_value || is_open => return Self::Value(entry),
                None if is_value || is_open => return Self::Argument(index, Some(entry)),
                _ => {}
            }
            if entry.property.is_none() && entry.range.end <= offset {
                index += 1;
            }
        }
        Self::Argument(index, None)
    }

    fn entry(&self) -> Option<&'o NodeEntry> {
        match self {
            Self::Argument(_, entry) => *entry,
            Self::Value(entry) => Some(entry),
            _ => None,
        }
    }
}

struct ContextFinder<'a, 'o> {
    /// What holds the resource or is no resource.
    containers: &'a [&'o Node],
    /// The resource and what is open in it.
    resource_path: &'a [&'o Node],
    schema_of: &'a dyn Fn(&str) -> Option<Schema>,
    role: Option<FileRole>,
}

impl<'o> ContextFinder<'_, 'o> {
    fn schema(&self, node: &Node) -> Option<Schema> {
        (self.schema_of)(&node.name.text)
    }

    /// What may begin here.
    fn at_node_start(&self) -> Vec<CompletionContext<'o>> {
        match self.resource_path {
            [] => {
                let is_top = self.containers.is_empty();
                vec![CompletionContext::Node {
                    words: keywords_at(is_top, self.role),
                    has_kinds: !is_top || self.role != Some(FileRole::Main),
                }]
            }
            [resource] => {
                let Some(schema) = self.schema(resource) else {
                    return vec![];
                };
                let key = schema
                    .entries()
                    .map(|entries| CompletionContext::Key(resource, entries));
                [CompletionContext::Child(resource)]
                    .into_iter()
                    .chain(key)
                    .collect()
            }
            [resource, child] => {
                let map = self.map(resource, child);
                map.map(|map| CompletionContext::Key(resource, map))
                    .into_iter()
                    .collect()
            }
            _ => vec![],
        }
    }

    fn map(&self, resource: &Node, child: &Node) -> Option<&'static Attribute> {
        let attribute = self.schema(resource)?.user_attribute(&child.name.text)?;
        (attribute.shape == Shape::Map).then_some(attribute)
    }

    /// What may stand behind the name of a node.
    fn inside_node(&self, node: &'o Node, spot: &CursorPosition<'o>) -> Vec<CompletionContext<'o>> {
        if let CursorPosition::Annotation(_) = spot {
            return vec![CompletionContext::Annotation];
        }
        let annotation = spot.entry().and_then(|entry| entry.annotation.as_ref());
        match annotation.map(|word| word.text.as_str()) {
            Some("var") => return vec![CompletionContext::Variable],
            Some("fact") => return vec![CompletionContext::Fact],
            Some(_) => return vec![],
            None => {}
        }
        match self.resource_path {
            [] => match self.schema(node) {
                Some(schema) => resource_contexts(node, &schema, spot),
                None => keyword_contexts(node, spot),
            },
            [resource] => {
                let Some(schema) = self.schema(resource) else {
                    return vec![];
                };
                let name = node.name.text.as_str();
                let known = value_context(resource, &schema, name);
                let entry = || {
                    Some(CompletionContext::KeyValue(
                        resource,
                        schema.entries()?,
                        name,
                    ))
                };
                known.or_else(entry).into_iter().collect()
            }
            [resource, child] => {
                let map = self.map(resource, child);
                let value =
                    map.map(|map| CompletionContext::KeyValue(resource, map, &node.name.text));
                value.into_iter().collect()
            }
            _ => vec![],
        }
    }
}

fn resource_contexts<'o>(
    node: &'o Node,
    schema: &Schema,
    spot: &CursorPosition<'o>,
) -> Vec<CompletionContext<'o>> {
    match spot {
        CursorPosition::Argument(0, _) => vec![CompletionContext::Name(node)],
        CursorPosition::Argument(index, entry) => {
            let main = schema.main.filter(|_| *index == 1);
            let main = main.and_then(|main| value_context(node, schema, main));
            let word = entry.and_then(|entry| entry.value.as_ref());
            let is_name = word.is_none_or(|word| !word.is_quoted());
            let attribute = is_name.then_some(CompletionContext::Attribute(node));
            main.into_iter().chain(attribute).collect()
        }
        CursorPosition::Property(_) => vec![CompletionContext::Attribute(node)],
        CursorPosition::Value(entry) => {
            let name = entry.property.as_ref().map_or("", |word| &word.text);
            value_context(node, schema, name).into_iter().collect()
        }
        CursorPosition::Begin | CursorPosition::Name | CursorPosition::Annotation(_) => vec![],
    }
}

fn value_context<'o>(
    resource: &'o Node,
    schema: &Schema,
    attribute: &str,
) -> Option<CompletionContext<'o>> {
    match attribute {
        "needs" => Some(CompletionContext::Address),
        "absent" | "override" => Some(CompletionContext::Flag),
        _ => Some(CompletionContext::Value(
            resource,
            schema.user_attribute(attribute)?,
        )),
    }
}

fn keyword_contexts<'o>(node: &'o Node, spot: &CursorPosition<'o>) -> Vec<CompletionContext<'o>> {
    let name = node.name.text.as_str();
    let context = match (name, spot) {
        ("include", CursorPosition::Argument(0, _)) => CompletionContext::File,
        ("use", CursorPosition::Argument(0, _)) => CompletionContext::Profile,
        ("when", CursorPosition::Argument(..) | CursorPosition::Property(_))
        | ("var", CursorPosition::Argument(1.., _) | CursorPosition::Property(_)) => {
            CompletionContext::Property(node)
        }
        ("when" | "var", CursorPosition::Value(entry)) => {
            let property = entry.property.as_ref().map_or("", |word| &word.text);
            match (name, property) {
                ("when", "fact") => CompletionContext::Fact,
                ("when", "var") => CompletionContext::Variable,
                ("when", _) => {
                    let fact = node.property("fact").and_then(|fact| fact.value.as_ref());
                    let Some(fact) = fact else { return vec![] };
                    CompletionContext::FactValue(&fact.text)
                }
                (_, "type") => CompletionContext::OneOf(&["text", "number", "flag"]),
                (_, "override") => CompletionContext::Flag,
                _ => return vec![],
            }
        }
        _ => return vec![],
    };
    vec![context]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        language::editor::outline,
        model::schema::{Absence, Lifecycle, Role},
    };

    const ATTRIBUTES: &[Attribute] = &[
        Attribute::new("value", Shape::Text, Role::Managed, "Its value."),
        Attribute::new("settings", Shape::Map, Role::Managed, "Its settings."),
        Attribute::new("any", Shape::Entries, Role::Managed, "Anything."),
    ];

    fn schema_of(kind: &str) -> Option<Schema> {
        (kind == "thing").then_some(Schema {
            lifecycle: Lifecycle::DEFAULT,
            summary: "A thing.",
            name: "name",
            main: Some("value"),
            attributes: ATTRIBUTES,
            absence: Absence::Allowed,
            example: "",
        })
    }

    fn check_role(role: Option<FileRole>, text: &str, expected: &str) {
        let offset = text.find('|').expect("a place is marked");
        let text = text.replace('|', "");
        let outline = outline(&text);
        let found = context_at(&outline, offset, &schema_of, role);
        let described = |blank: &CompletionContext<'_>| match blank {
            CompletionContext::Node { words, has_kinds } => {
                let words = words.iter().map(|(word, _)| *word);
                let kinds = has_kinds.then_some("kinds");
                words.chain(kinds).collect::<Vec<_>>().join(" ")
            }
            CompletionContext::Property(node) => format!("property of {}", node.name.text),
            CompletionContext::Attribute(node) => format!("attribute of {}", node.name.text),
            CompletionContext::Child(node) => format!("child of {}", node.name.text),
            CompletionContext::Key(_, attribute) => format!("key of {}", attribute.name),
            CompletionContext::Name(node) => format!("name of {}", node.name.text),
            CompletionContext::Value(_, attribute) => format!("value of {}", attribute.name),
            CompletionContext::KeyValue(_, attribute, key) => {
                format!("value of {} {key}", attribute.name)
            }
            other => format!("{other:?}"),
        };
        let described: Vec<_> = found.contexts.iter().map(described).collect();
        let word = found.word.map_or("", |word| &word.text);
        assert_eq!(
            format!("{word}: {}", described.join(", ")),
            expected,
            "{text}"
        );
    }

    /// The place is where `|` stands.
    fn check(text: &str, expected: &str) {
        check_role(Some(FileRole::Main), text, expected);
    }

    #[test]
    fn completion_offers_keywords_at_top_and_kinds_in_host() {
        check("|", ": host var include profile");
        check("ho|", "ho: host var include profile");
        check("host \"x\" {\n    |\n}", ": include use when kinds");
        check("host \"x\" {\n    th|\n}", "th: include use when kinds");
        check(
            "host \"x\" { when fact=\"a\" is=1 { t|",
            "t: include use when kinds",
        );
        check("profile \"x\" { |", ": include use when kinds");
        check_role(
            Some(FileRole::Included),
            "|",
            ": var profile include use when kinds",
        );
        check_role(None, "|", ": host var profile include use when kinds");
    }

    #[test]
    fn completion_in_resource_offers_name_value_and_attributes() {
        check("host \"x\" { thing |", ": name of thing");
        check("host \"x\" { thing \"a|\"", "a: name of thing");
        check(
            "host \"x\" { thing \"a\" |",
            ": value of value, attribute of thing",
        );
        check(
            "host \"x\" { thing \"a\" n|",
            "n: value of value, attribute of thing",
        );
        check("host \"x\" { thing \"a\" \"|\"", ": value of value");
        check(
            "host \"x\" { thing \"a\" b=1 nee|=1",
            "nee: attribute of thing",
        );
        check(
            "host \"x\" { thing \"a\" { |",
            ": child of thing, key of any",
        );
    }

    #[test]
    fn completion_of_value_follows_its_attribute() {
        check("host \"x\" { thing \"a\" needs=|", ": Address");
        check("host \"x\" { thing \"a\" needs=\"th|\" b=1", "th: Address");
        check("host \"x\" { thing \"a\" needs=\"th|\n}", "th: Address");
        check("host \"x\" { thing \"a\" absent=#t|", "#t: Flag");
        check("host \"x\" { thing \"a\" value=|", ": value of value");
        check("host \"x\" { thing \"a\" { needs \"b\" \"|\"", ": Address");
        check("host \"x\" { thing \"a\" { k |", ": value of any k");
        check(
            "host \"x\" { thing \"a\" { settings { |",
            ": key of settings",
        );
        check(
            "host \"x\" { thing \"a\" { settings { k |",
            ": value of settings k",
        );
    }

    #[test]
    fn completion_of_value_follows_its_annotation() {
        check("host \"x\" { thing \"a\" value=(|", ": Annotation");
        check(
            "host \"x\" { thing \"a\" value=(va|)\"x\"",
            "va: Annotation",
        );
        check("host \"x\" { thing \"a\" value=(var)|", ": Variable");
        check("host \"x\" { thing \"a\" (var)\"d|\"", "d: Variable");
        check("host (fact)\"|\" {}", ": Fact");
        check("host \"x\" { thing \"a\" (env)\"|\"", ": ");
    }

    #[test]
    fn keyword_nodes_complete_their_own_values() {
        check("include \"|\"", ": File");
        check("host \"x\" { use \"|\"", ": Profile");
        check("host \"x\" { when |", ": property of when");
        check("host \"x\" { when fa|", "fa: property of when");
        check("host \"x\" { when fact=\"|\"", ": Fact");
        check("host \"x\" { when var=\"|\"", ": Variable");
        check(
            "host \"x\" { when fact=\"cloud\" is=\"|\"",
            ": FactValue(\"cloud\")",
        );
        check("var \"x\" |", ": property of var");
        check(
            "var \"x\" type=\"|\"",
            ": OneOf([\"text\", \"number\", \"flag\"])",
        );
        check("var |", ": ");
    }

    #[test]
    fn completion_in_comment_offers_nothing() {
        check("// |", ": ");
        check("/* | */", ": ");
        check("host \"x\" { thing \"a\" // |\n}", ": ");
        check("// a\n|", ": host var include profile");
    }
}
