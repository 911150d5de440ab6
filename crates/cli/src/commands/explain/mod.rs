//! `stead explain`.

pub(crate) mod resource;

use stead_engine::model::{
    schema::{Absence, Schema},
    suggest,
};
use stead_resources::doctor::rules;

use crate::{
    args::ExplainArgs,
    commands::explain::resource::explain_address,
    context::Context,
    error::CommandError,
    exit::Exit,
    render::{self, Column, push_line, style, table},
};

/// Explains a kind, what `stead doctor` may find, or one resource.
pub(crate) fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, CommandError> {
    let name = args.name.as_str();
    if name.contains(':') {
        return explain_address(context, args);
    }
    if let Some(kind) = context.registry.get(name) {
        render::print_text(&kind_text(name, &kind.schema()));
    } else if let Some(rule) = rules().find(|rule| rule.name == name) {
        render::print_text(&render::finding_rule(rule));
    } else {
        return Err(unknown_name(context, name));
    }
    Ok(Exit::Done)
}

fn unknown_name(context: &Context, name: &str) -> CommandError {
    let kinds = || context.registry.iter().map(|(name, _)| name);
    let findings = || rules().map(|rule| rule.name);
    let is_kind = suggest::nearest(name, kinds()).is_some();
    let (what, help) = match suggest::nearest(name, findings()) {
        Some(_) if !is_kind => (
            "finding",
            suggest::did_you_mean("the findings are", name, findings()),
        ),
        _ => (
            "kind",
            suggest::did_you_mean("the kinds are", name, kinds()),
        ),
    };
    CommandError::usage(format!("unknown {what} `{name}`"), help)
}

fn kind_text(name: &str, schema: &Schema) -> String {
    let mut text = format!("{}: {}\n\n", style::bold(name), schema.summary);
    for example in schema.example.lines() {
        push_line(&mut text, format_args!("    {example}"));
    }
    push_line(&mut text, format_args!("\nName: {}.", schema.name));
    push_line(&mut text, format_args!("\nAttributes:"));
    let written = schema
        .attributes
        .iter()
        .filter(|attribute| attribute.role.is_user_written());
    let mut rows: Vec<_> = written
        .map(|attribute| {
            let doc = render::attribute_text(schema, attribute);
            let shape = render::shape_text(attribute.shape);
            [attribute.name.to_owned(), format!("{doc} ({shape})")]
        })
        .collect();
    let absent = match schema.absence {
        Absence::Allowed => "Makes it not exist. (#true or #false)".to_owned(),
        Absence::Refused(why) => format!("Not possible: {why}."),
    };
    let needs = "What must exist first. (\"KIND:NAME\")".to_owned();
    rows.push(["absent".to_owned(), absent]);
    rows.push(["needs".to_owned(), needs]);
    text += &table("  ", [Column::LEFT; 2], &rows);
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use stead_engine::language::{resolve::decode, source::Source};

    use super::*;

    #[test]
    fn rule_and_kind_names_are_distinct() {
        let registry = stead_resources::registry();
        let kinds = registry.iter().map(|(name, _)| name);
        let names: Vec<_> = rules().map(|rule| rule.name).chain(kinds).collect();
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), once.len(), "{names:?}");
    }

    #[test]
    fn rule_fixes_decode_as_a_spec() {
        let registry = stead_resources::registry();
        for rule in rules().filter(|rule| !rule.spec.is_empty()) {
            let nodes = rule.spec.join("\n");
            let nodes = nodes
                .replace("HOOK", "boot")
                .replace("GROUP", "microk8s/kubernetes");
            let nodes = nodes.replace("SETTING", "vm.swappiness");
            let source = Arc::new(Source::new(
                "doctor.kdl",
                format!("host \"x\" {{\n{nodes}\n}}\n"),
            ));
            let decoded = decode(&source, &registry);
            assert!(decoded.is_ok(), "{}: {decoded:?}", rule.name);
        }
    }
}
