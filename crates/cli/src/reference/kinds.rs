//! The pages of the guide about kinds.

use std::fmt::Write as _;

use stead_engine::model::schema::{Absence, Attribute, Role, Schema};

use crate::{
    reference::page::{GENERATED_NOTE, Pages, cell},
    render::{attribute_text, shape_text},
};

const INTRODUCTION: &str = "\
# Kinds

Everything that a spec can describe. `stead kinds` lists them, `stead explain KIND` shows the page of one in the terminal.

An attribute that is not written is left alone, unless its page names a default. Each attribute has a role:

| role | meaning |
|---|---|
| managed | read from the host and compared; a difference is a change |
| input | never read from the host; what is compared is computed from it, or it controls how a change is made |

Every resource also takes `needs=\"KIND:NAME\"`: a resource that comes first. Where a kind allows it, `absent=#true` makes the resource not exist.

";

/// Returns the page of each kind, and the list of them.
pub(super) fn pages() -> Pages {
    let registry = stead_resources::registry();
    let mut list = format!("{GENERATED_NOTE}{INTRODUCTION}| kind | description |\n|---|---|\n");
    let mut pages = Pages::new();
    for (name, kind) in registry.iter() {
        let schema = kind.schema();
        let path = format!("kinds/{name}.md");
        writeln!(list, "| [{name}]({path}) | {} |", cell(schema.summary)).unwrap();
        pages.insert(path, page(name, &schema));
    }
    pages.insert("kinds.md".to_owned(), list);
    pages
}

fn page(name: &str, schema: &Schema) -> String {
    let summary = schema.summary;
    let example = schema.example.lines();
    let example: String = example
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    let mut text = format!(
        "{GENERATED_NOTE}# {name}\n\n{summary}\n\n```kdl\n{example}```\n\nName: {}.\n\n\
         | attribute | type | role | default | meaning |\n|---|---|---|---|---|\n",
        schema.name
    );
    let written = schema.attributes.iter();
    for attribute in written.filter(|attribute| attribute.role.is_user_written()) {
        let row = [
            format!("`{}`", attribute.name),
            shape_text(attribute.shape),
            role(attribute.role).to_owned(),
            if_not_written(attribute),
            without_default(&attribute_text(schema, attribute)),
        ];
        writeln!(text, "| {} |", row.map(|text| cell(&text)).join(" | ")).unwrap();
    }
    let absent = match schema.absence {
        Absence::Allowed => "`absent=#true` makes it not exist.".to_owned(),
        Absence::Refused(why) => format!("`absent=#true` is not possible: {why}."),
    };
    write!(text, "\n{absent}\n").unwrap();
    text
}

/// How the text about an attribute names its default, at its end.
const DEFAULT: &str = "Default: ";

/// Returns a text about an attribute without its default, which has a column of its own.
fn without_default(meaning: &str) -> String {
    let Some((text, rest)) = meaning.split_once(DEFAULT) else {
        return meaning.to_owned();
    };
    let after = rest.split_once(". ").map_or("", |(_, after)| after);
    format!("{text}{after}").trim_end().to_owned()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Managed => "managed",
        Role::Input => "input",
        Role::Derived | Role::Context | Role::Remark => unreachable!("nobody writes it"),
    }
}

/// Returns its default: the text about an attribute that has one ends with `Default: …`.
fn if_not_written(attribute: &Attribute) -> String {
    if let Some((_, default)) = attribute.doc.split_once(DEFAULT) {
        return match default.trim_end_matches('.') {
            "true" | "false" => format!("#{}", default.trim_end_matches('.')),
            other => other.to_owned(),
        };
    }
    match attribute.role {
        Role::Managed => "stays as it is".to_owned(),
        _ => "–".to_owned(),
    }
}

#[test]
fn default_is_read_from_the_text_of_the_attribute() {
    let registry = stead_resources::registry();
    let default = |kind: &str, name: &str| {
        let schema = registry.get(kind).unwrap().schema();
        let attribute = schema.attributes.iter().find(|a| a.name == name).unwrap();
        if_not_written(attribute)
    };
    assert_eq!(default("check", "status"), "200");
    assert_eq!(default("check", "within"), "30");
    assert_eq!(default("check", "tcp"), "–");
    assert_eq!(default("sysctl", "persist"), "#true");
    assert_eq!(default("group", "system"), "#false");
    assert_eq!(default("iptables-rule", "table"), "filter");
    assert_eq!(default("iptables-rule", "position"), "last");
    assert_eq!(default("iptables-rule", "match"), "everything");
    assert_eq!(default("iptables-policy", "persist"), "#true");
    assert_eq!(default("iptables-policy", "backend"), "auto");
    assert_eq!(default("restart", "within"), "180");
    assert_eq!(default("file", "mode"), "stays as it is");
}
