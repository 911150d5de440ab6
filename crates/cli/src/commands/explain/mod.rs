//! `stead explain`.

pub(crate) mod resource;

use stead_engine::model::{
    schema::{Absence, Schema},
    suggest,
};
use stead_resources::doctor::ailments;

use crate::{
    args::Explain,
    commands::explain::resource::explain_address,
    context::Session,
    error::Failure,
    exit::Exit,
    render::{self, line, paint},
};

/// Explains a kind, what `stead doctor` may find, or one resource.
pub(crate) fn explain(session: &Session, args: &Explain) -> Result<Exit, Failure> {
    let name = args.name.as_str();
    if name.contains(':') {
        return explain_address(session, args);
    }
    if let Some(kind) = session.registry.get(name) {
        render::page(&text(name, &kind.schema()));
    } else if let Some(ailment) = ailments().find(|ailment| ailment.name == name) {
        render::page(&render::ailment(ailment));
    } else {
        return Err(unknown(session, name));
    }
    Ok(Exit::Done)
}

fn unknown(session: &Session, name: &str) -> Failure {
    let kinds = || session.registry.iter().map(|(name, _)| name);
    let findings = || ailments().map(|ailment| ailment.name);
    let is_kind = suggest::nearest(name, kinds()).is_some();
    let (what, help) = match suggest::nearest(name, findings()) {
        Some(_) if !is_kind => (
            "finding",
            suggest::help("the findings are", name, findings()),
        ),
        _ => ("kind", suggest::help("the kinds are", name, kinds())),
    };
    Failure::usage(format!("unknown {what} `{name}`"), help)
}

fn text(name: &str, schema: &Schema) -> String {
    let mut text = format!("{}: {}\n\n", paint::bold(name), schema.summary);
    for example in schema.example.lines() {
        line(&mut text, format_args!("    {example}"));
    }
    line(&mut text, format_args!("\nName: {}.", schema.name));
    line(&mut text, format_args!("\nAttributes:"));
    let written = || {
        schema
            .attributes
            .iter()
            .filter(|attribute| attribute.role.is_written())
    };
    let width = written()
        .map(|attribute| attribute.name.len())
        .max()
        .unwrap_or(0)
        .max("absent".len());
    for attribute in written() {
        let shape = render::shape(attribute.shape);
        line(
            &mut text,
            format_args!(
                "  {:width$}  {} ({shape})",
                attribute.name,
                render::meaning(schema, attribute)
            ),
        );
    }
    match schema.absence {
        Absence::Allowed => line(
            &mut text,
            format_args!(
                "  {:width$}  Makes it not exist. (#true or #false)",
                "absent"
            ),
        ),
        Absence::Refused(why) => {
            line(
                &mut text,
                format_args!("  {:width$}  Not possible: {why}.", "absent"),
            );
        }
    }
    line(
        &mut text,
        format_args!(
            "  {:width$}  What must exist first. (\"KIND:NAME\")",
            "needs"
        ),
    );
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use stead_engine::language::{resolve::decode, source::Source};

    use super::*;

    #[test]
    fn a_name_means_one_finding_or_one_kind() {
        let registry = stead_resources::registry();
        let kinds = registry.iter().map(|(name, _)| name);
        let names: Vec<_> = ailments()
            .map(|ailment| ailment.name)
            .chain(kinds)
            .collect();
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), once.len(), "{names:?}");
    }

    #[test]
    fn what_a_finding_shows_can_be_written_into_a_spec() {
        let registry = stead_resources::registry();
        for ailment in ailments().filter(|ailment| !ailment.spec.is_empty()) {
            let nodes = ailment.spec.join("\n");
            let nodes = nodes
                .replace("HOOK", "boot")
                .replace("GROUP", "microk8s/kubernetes");
            let nodes = nodes.replace("SETTING", "vm.swappiness");
            let source = Arc::new(Source::new(
                "doctor.kdl",
                format!("host \"x\" {{\n{nodes}\n}}\n"),
            ));
            let decoded = decode(&source, &registry);
            assert!(decoded.is_ok(), "{}: {decoded:?}", ailment.name);
        }
    }
}
