//! A page for each kind.

use std::fmt::Write as _;

use stead_engine::model::schema::{Absence, Attribute, Role, Schema};

use crate::{
    reference::page::{MADE, Pages, cell},
    render::{meaning, shape},
};

const INTRODUCTION: &str = "\
# Kinds

Everything that a spec can describe. `stead kinds` lists them, `stead explain KIND` shows the page of one in the terminal.

An attribute that is not written is left alone, unless its page names what holds then. The pages say of each attribute which role it has.

| role | means |
|---|---|
| managed | it is read on the host, and a difference is a change |
| input | it is never read on the host: what is compared is made of it, or it only says how |

Every resource takes `needs=\"KIND:NAME\"` too: what must be there first. Where a kind allows it, `absent=#true` asks for the resource not to exist.

";

/// Returns the page of each kind, and the list of them.
pub(super) fn pages() -> Pages {
    let registry = stead_resources::registry();
    let mut list = format!("{MADE}{INTRODUCTION}| kind | what it is |\n|---|---|\n");
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
        "{MADE}# {name}\n\n{summary}\n\n```kdl\n{example}```\n\nThe name is: {}.\n\n\
         | attribute | type | role | if it is not written | what it means |\n|---|---|---|---|---|\n",
        schema.name
    );
    let written = schema.attributes.iter();
    for attribute in written.filter(|attribute| attribute.role.is_written()) {
        let row = [
            format!("`{}`", attribute.name),
            shape(attribute.shape),
            role(attribute.role).to_owned(),
            if_not_written(attribute),
            meaning(schema, attribute),
        ];
        writeln!(text, "| {} |", row.map(|text| cell(&text)).join(" | ")).unwrap();
    }
    let absent = match schema.absence {
        Absence::Allowed => "`absent=#true` asks for it not to exist.".to_owned(),
        Absence::Refused(why) => format!("`absent=#true` is not possible: {why}."),
    };
    write!(text, "\n{absent}\n").unwrap();
    text
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Managed => "managed",
        Role::Input => "input",
        Role::Derived | Role::Context | Role::Remark => unreachable!("nobody writes it"),
    }
}

/// Returns what holds without it: every sentence about an attribute that has a default says `… unless written`.
fn if_not_written(attribute: &Attribute) -> String {
    if let Some((before, _)) = attribute.doc.split_once(" unless written") {
        let begin = before.rfind([':', ';', '.']).map_or(0, |at| at + 1);
        let default = before[begin..].trim();
        return match default {
            "True" | "False" => format!("#{}", default.to_lowercase()),
            "true" | "false" => format!("#{default}"),
            "Everything" => "everything".to_owned(),
            other => other.to_owned(),
        };
    }
    match attribute.role {
        Role::Managed => "stays as it is".to_owned(),
        _ => "–".to_owned(),
    }
}

#[test]
fn a_default_is_what_stands_before_unless_written() {
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
