//! What may be written at a position of a text.

use crate::{
    language::editor::{
        keywords::{Part, holds_resources, meaning, properties_of, words_of},
        outline::{Entry, Node, Outline, Word},
    },
    model::{
        completion::Gap,
        schema::{Attribute, Schema, Shape},
    },
};

/// A place in a text.
#[derive(Debug)]
pub struct Cursor<'o> {
    /// The word that stands there.
    pub word: Option<&'o Word>,
    /// What may stand there.
    pub blanks: Vec<Blank<'o>>,
}

/// Something that may be written.
#[derive(Debug)]
pub enum Blank<'o> {
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

impl<'o> Blank<'o> {
    /// Returns the resource that has a gap here.
    pub fn gap(&self) -> Option<(&'o Node, Gap)> {
        let of = |attribute: &Attribute| attribute.name.to_owned();
        match self {
            Self::Name(node) => Some((node, Gap::Name)),
            Self::Value(node, attribute) => Some((node, Gap::Value(of(attribute)))),
            Self::Key(node, attribute) => Some((node, Gap::Key(of(attribute)))),
            Self::KeyValue(node, attribute, key) => {
                Some((node, Gap::KeyValue(of(attribute), (*key).to_owned())))
            }
            _ => None,
        }
    }

    /// Returns what a word of the language means here.
    pub fn meaning(&self, word: &str) -> Option<&'static str> {
        match self {
            Self::Node { .. } => meaning(word),
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

/// Says what stands at a place and what else may. `schema_of` knows the kinds.
pub fn cursor<'o>(
    outline: &'o Outline,
    offset: usize,
    schema_of: &dyn Fn(&str) -> Option<Schema>,
    part: Part,
) -> Cursor<'o> {
    let mut comments = outline.comments.iter();
    if comments.any(|comment| comment.start < offset && offset <= comment.end) {
        return Cursor {
            word: None,
            blanks: vec![],
        };
    }
    let (around, node) = find(&outline.nodes, offset);
    let mut holders = around.iter();
    let inner = holders.position(|node| !holds_resources(node));
    let place = Place {
        around: &around[..inner.unwrap_or(around.len())],
        within: inner.map_or(&[], |at| &around[at..]),
        schema_of,
        part,
    };
    let spot = node.map_or(Spot::Begin, |node| Spot::of(node, offset));
    let word = match (&spot, node) {
        (Spot::Name, Some(node)) => Some(&node.name),
        (Spot::Property(word) | Spot::Annotation(word), _) => Some(*word),
        (Spot::Argument(_, Some(entry)) | Spot::Value(entry), _) => entry.value.as_ref(),
        _ => None,
    };
    let blanks = match node {
        Some(node) if !matches!(spot, Spot::Name | Spot::Begin) => place.in_node(node, &spot),
        _ => place.begin(),
    };
    Cursor { word, blanks }
}

/// Finds the nodes around a place, and the one in whose head it is.
fn find(mut nodes: &[Node], offset: usize) -> (Vec<&Node>, Option<&Node>) {
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
enum Spot<'o> {
    Begin,
    Name,
    Annotation(&'o Word),
    Property(&'o Word),
    /// Which argument it is, counted from 0.
    Argument(usize, Option<&'o Entry>),
    /// The value of a property.
    Value(&'o Entry),
}

impl<'o> Spot<'o> {
    fn of(node: &'o Node, offset: usize) -> Self {
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

    fn entry(&self) -> Option<&'o Entry> {
        match self {
            Self::Argument(_, entry) => *entry,
            Self::Value(entry) => Some(entry),
            _ => None,
        }
    }
}

struct Place<'a, 'o> {
    /// What holds the resource or is no resource.
    around: &'a [&'o Node],
    /// The resource and what is open in it.
    within: &'a [&'o Node],
    schema_of: &'a dyn Fn(&str) -> Option<Schema>,
    part: Part,
}

impl<'o> Place<'_, 'o> {
    fn schema(&self, node: &Node) -> Option<Schema> {
        (self.schema_of)(&node.name.text)
    }

    /// What may begin here.
    fn begin(&self) -> Vec<Blank<'o>> {
        match self.within {
            [] => {
                let is_top = self.around.is_empty();
                vec![Blank::Node {
                    words: words_of(is_top, self.part),
                    has_kinds: !is_top || self.part != Part::Main,
                }]
            }
            [resource] => {
                let Some(schema) = self.schema(resource) else {
                    return vec![];
                };
                let key = schema
                    .entries()
                    .map(|entries| Blank::Key(resource, entries));
                [Blank::Child(resource)].into_iter().chain(key).collect()
            }
            [resource, child] => {
                let map = self.map(resource, child);
                map.map(|map| Blank::Key(resource, map))
                    .into_iter()
                    .collect()
            }
            _ => vec![],
        }
    }

    fn map(&self, resource: &Node, child: &Node) -> Option<&'static Attribute> {
        let attribute = self.schema(resource)?.written(&child.name.text)?;
        (attribute.shape == Shape::Map).then_some(attribute)
    }

    /// What may stand behind the name of a node.
    fn in_node(&self, node: &'o Node, spot: &Spot<'o>) -> Vec<Blank<'o>> {
        if let Spot::Annotation(_) = spot {
            return vec![Blank::Annotation];
        }
        let annotation = spot.entry().and_then(|entry| entry.annotation.as_ref());
        match annotation.map(|word| word.text.as_str()) {
            Some("var") => return vec![Blank::Variable],
            Some("fact") => return vec![Blank::Fact],
            Some(_) => return vec![],
            None => {}
        }
        match self.within {
            [] => match self.schema(node) {
                Some(schema) => of_resource(node, &schema, spot),
                None => of_word(node, spot),
            },
            [resource] => {
                let Some(schema) = self.schema(resource) else {
                    return vec![];
                };
                let name = node.name.text.as_str();
                let known = value(resource, &schema, name);
                let entry = || Some(Blank::KeyValue(resource, schema.entries()?, name));
                known.or_else(entry).into_iter().collect()
            }
            [resource, child] => {
                let map = self.map(resource, child);
                let value = map.map(|map| Blank::KeyValue(resource, map, &node.name.text));
                value.into_iter().collect()
            }
            _ => vec![],
        }
    }
}

fn of_resource<'o>(node: &'o Node, schema: &Schema, spot: &Spot<'o>) -> Vec<Blank<'o>> {
    match spot {
        Spot::Argument(0, _) => vec![Blank::Name(node)],
        Spot::Argument(index, entry) => {
            let main = schema.main.filter(|_| *index == 1);
            let main = main.and_then(|main| value(node, schema, main));
            let word = entry.and_then(|entry| entry.value.as_ref());
            let is_name = word.is_none_or(|word| !word.is_quoted());
            let attribute = is_name.then_some(Blank::Attribute(node));
            main.into_iter().chain(attribute).collect()
        }
        Spot::Property(_) => vec![Blank::Attribute(node)],
        Spot::Value(entry) => {
            let name = entry.property.as_ref().map_or("", |word| &word.text);
            value(node, schema, name).into_iter().collect()
        }
        Spot::Begin | Spot::Name | Spot::Annotation(_) => vec![],
    }
}

fn value<'o>(resource: &'o Node, schema: &Schema, attribute: &str) -> Option<Blank<'o>> {
    match attribute {
        "needs" => Some(Blank::Address),
        "absent" | "override" => Some(Blank::Flag),
        _ => Some(Blank::Value(resource, schema.written(attribute)?)),
    }
}

fn of_word<'o>(node: &'o Node, spot: &Spot<'o>) -> Vec<Blank<'o>> {
    let name = node.name.text.as_str();
    let blank = match (name, spot) {
        ("include", Spot::Argument(0, _)) => Blank::File,
        ("use", Spot::Argument(0, _)) => Blank::Profile,
        ("when", Spot::Argument(..) | Spot::Property(_)) | ("var", Spot::Property(_)) => {
            Blank::Property(node)
        }
        ("var", Spot::Argument(1.., _)) => Blank::Property(node),
        ("when" | "var", Spot::Value(entry)) => {
            let property = entry.property.as_ref().map_or("", |word| &word.text);
            match (name, property) {
                ("when", "fact") => Blank::Fact,
                ("when", "var") => Blank::Variable,
                ("when", _) => {
                    let fact = node.property("fact").and_then(|fact| fact.value.as_ref());
                    let Some(fact) = fact else { return vec![] };
                    Blank::FactValue(&fact.text)
                }
                (_, "type") => Blank::OneOf(&["text", "number", "flag"]),
                (_, "override") => Blank::Flag,
                _ => return vec![],
            }
        }
        _ => return vec![],
    };
    vec![blank]
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

    fn check_part(part: Part, text: &str, expected: &str) {
        let offset = text.find('|').expect("a place is marked");
        let text = text.replace('|', "");
        let outline = outline(&text);
        let found = cursor(&outline, offset, &schema_of, part);
        let told = |blank: &Blank<'_>| match blank {
            Blank::Node { words, has_kinds } => {
                let words = words.iter().map(|(word, _)| *word);
                let kinds = has_kinds.then_some("kinds");
                words.chain(kinds).collect::<Vec<_>>().join(" ")
            }
            Blank::Property(node) => format!("property of {}", node.name.text),
            Blank::Attribute(node) => format!("attribute of {}", node.name.text),
            Blank::Child(node) => format!("child of {}", node.name.text),
            Blank::Key(_, attribute) => format!("key of {}", attribute.name),
            Blank::Name(node) => format!("name of {}", node.name.text),
            Blank::Value(_, attribute) => format!("value of {}", attribute.name),
            Blank::KeyValue(_, attribute, key) => format!("value of {} {key}", attribute.name),
            other => format!("{other:?}"),
        };
        let told: Vec<_> = found.blanks.iter().map(told).collect();
        let word = found.word.map_or("", |word| &word.text);
        assert_eq!(format!("{word}: {}", told.join(", ")), expected, "{text}");
    }

    /// The place is where `|` stands.
    fn check(text: &str, expected: &str) {
        check_part(Part::Main, text, expected);
    }

    #[test]
    fn words_stand_at_the_top_and_kinds_within_a_host() {
        check("|", ": host var include profile");
        check("ho|", "ho: host var include profile");
        check("host \"x\" {\n    |\n}", ": include use when kinds");
        check("host \"x\" {\n    th|\n}", "th: include use when kinds");
        check(
            "host \"x\" { when fact=\"a\" is=1 { t|",
            "t: include use when kinds",
        );
        check("profile \"x\" { |", ": include use when kinds");
        check_part(Part::Included, "|", ": var profile include use when kinds");
        check_part(
            Part::Either,
            "|",
            ": host var profile include use when kinds",
        );
    }

    #[test]
    fn a_resource_has_a_name_a_main_value_and_attributes() {
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
    fn values_are_what_their_attributes_take() {
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
    fn values_from_elsewhere_are_known_by_their_annotation() {
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
    fn words_of_the_language_have_their_own() {
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
    fn nothing_stands_in_a_comment() {
        check("// |", ": ");
        check("/* | */", ": ");
        check("host \"x\" { thing \"a\" // |\n}", ": ");
        check("// a\n|", ": host var include profile");
    }
}
