//! `stead explain`.

use stead_engine::{
    schema::{Absence, Schema, Shape},
    suggest,
};

use crate::{
    exit::Exit,
    failure::Failure,
    render::{self, line, paint},
    session::Session,
};

/// Explains a kind.
pub(crate) fn explain(session: &Session, name: &str) -> Result<Exit, Failure> {
    let Some(kind) = session.registry.get(name) else {
        let kinds = session.registry.iter().map(|(name, _)| name);
        let help = suggest::help("the kinds are", name, kinds);
        return Err(Failure::usage(format!("unknown kind `{name}`"), help));
    };
    render::data(&text(name, &kind.schema()));
    Ok(Exit::Done)
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
        let main = if schema.main == Some(attribute.name) {
            " May stand behind the name."
        } else {
            ""
        };
        let shape = shape(attribute.shape);
        line(
            &mut text,
            format_args!(
                "  {:width$}  {}{main} ({shape})",
                attribute.name, attribute.doc
            ),
        );
    }
    match schema.absence {
        Absence::Allowed => line(
            &mut text,
            format_args!(
                "  {:width$}  Asks for it not to exist. (#true or #false)",
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
            "  {:width$}  What must be there first. (\"KIND:NAME\")",
            "needs"
        ),
    );
    text
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Flag => "#true or #false".to_owned(),
        Shape::Integer => "whole number".to_owned(),
        Shape::OneOf(words) => words.join(", "),
        Shape::Path => "path beside the spec".to_owned(),
        Shape::Map => "keys with values, as children of a child".to_owned(),
        Shape::Entries => "any children, each with its texts or `#null`".to_owned(),
        Shape::List => "several texts, as a child".to_owned(),
    }
}
