//! What a text declares and refers to: resources, variables, profiles and files.

use std::ops::Range;

use crate::{
    language::editor::{
        completion::{CompletionContext, Cursor},
        keywords::contains_resources,
        outline::{Node, NodeEntry, Outline, Word},
    },
    model::address::Address,
};

/// What one file declares, each with the place of its name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Whether a `host` stands at its top.
    pub has_host: bool,
    /// Resources whose names are written out.
    pub resources: Vec<(Address, Range<usize>)>,
    /// Variables.
    pub variables: Vec<Variable>,
    /// Profiles.
    pub profiles: Vec<(String, Range<usize>)>,
    /// Files that it includes, by the paths that are written.
    pub includes: Vec<String>,
}

/// A variable as it is declared.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where that stands.
    pub range: Range<usize>,
    /// Its default, as it is written.
    pub default: Option<String>,
}

/// Something declared elsewhere that a place speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A resource.
    Resource(Address),
    /// A variable.
    Variable(String),
    /// A profile.
    Profile(String),
    /// A file, relative to this one.
    File(String),
}

/// Finds what a text declares.
pub fn symbols(text: &str, outline: &Outline, is_kind: &dyn Fn(&str) -> bool) -> Symbols {
    let mut names = Symbols::default();
    for node in &outline.nodes {
        let argument = node.argument(0);
        match (node.name.text.as_str(), argument) {
            ("host", _) => names.has_host = true,
            ("var", Some(name)) => names.variables.push(Variable {
                name: name.text.clone(),
                range: name.range.clone(),
                default: node
                    .property("default")
                    .and_then(|it| source_text(text, it)),
            }),
            ("profile", Some(name)) => {
                names.profiles.push((name.text.clone(), name.range.clone()));
            }
            _ => {}
        }
    }
    let mut nodes: Vec<&Node> = outline.nodes.iter().rev().collect();
    while let Some(node) = nodes.pop() {
        let name = node.name.text.as_str();
        match node.argument(0) {
            Some(Word { text, .. }) if name == "include" => names.includes.push(text.clone()),
            Some(Word { text, range, .. }) if is_kind(name) => {
                let address = Address::new(name, text);
                names.resources.push((address, range.clone()));
            }
            _ => {}
        }
        if contains_resources(node) {
            nodes.extend(node.children.iter().rev());
        }
    }
    names
}

/// Says what the word at a place speaks of.
pub fn reference_at(cursor: &Cursor<'_>) -> Option<Reference> {
    let text = &cursor.word?.text;
    let mut uses = cursor.contexts.iter().filter_map(|blank| match blank {
        CompletionContext::Address => Some(Reference::Resource(text.parse().ok()?)),
        CompletionContext::Variable => Some(Reference::Variable(text.clone())),
        CompletionContext::Profile => Some(Reference::Profile(text.clone())),
        CompletionContext::File => Some(Reference::File(text.clone())),
        _ => None,
    });
    uses.next()
}

/// Returns a value with its annotation, as it is written.
fn source_text(text: &str, entry: &NodeEntry) -> Option<String> {
    let value = &entry.value.as_ref()?.range;
    let start = match &entry.annotation {
        // The parenthesis before it.
        Some(word) => text[..word.range.start].rfind('(')?,
        None => value.start,
    };
    text.get(start..value.end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::editor::outline;

    #[test]
    fn symbols_collect_declarations_and_includes() {
        let text = r#"
            include "values.kdl"
            var "a" default=(env)"A"
            var "b"
            profile "p" { thing "x" }
            host "h" {
                when var="a" is="1" { include "more.kdl"; thing "y" needs="thing:x" }
                thing (var)"a"
                thing "z" { thing "no resource" }
            }
        "#;
        let names = symbols(text, &outline(text), &|kind| kind == "thing");
        assert!(names.has_host);
        let resources = names.resources.iter();
        let resources: Vec<_> = resources.map(|(address, _)| address.to_string()).collect();
        assert_eq!(resources, ["thing:x", "thing:y", "thing:z"]);
        let variables = names.variables.iter();
        let variables: Vec<_> = variables
            .map(|one| (one.name.as_str(), one.default.as_deref()))
            .collect();
        assert_eq!(variables, [("a", Some("(env)\"A\"")), ("b", None)]);
        assert_eq!(names.profiles[0].0, "p");
        assert_eq!(names.includes, ["values.kdl", "more.kdl"]);
    }
}
