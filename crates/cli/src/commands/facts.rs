//! `stead facts`.

use stead_resources::facts::FACTS;

use crate::{
    context::Context,
    error::CommandError,
    exit::Exit,
    json::FactsDocument,
    render::{self, escape_control, push_line, style},
};

/// Shows what a spec may ask about this host.
pub(crate) fn facts(context: &Context, as_json: bool) -> Result<Exit, CommandError> {
    let facts = context.facts()?;
    if as_json {
        render::print_data(&FactsDocument::text(facts));
        return Ok(Exit::Done);
    }
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let names = width(&mut FACTS.iter().map(|(name, _)| name.len()));
    let values = facts
        .0
        .values()
        .map(|fact| fact.to_string().chars().count());
    let values = width(&mut values.into_iter());
    let mut text = String::new();
    for (name, doc) in FACTS {
        let value = facts.0.get(name).map_or(String::new(), ToString::to_string);
        let (value, doc) = (escape_control(&value), style::faint(doc));
        push_line(
            &mut text,
            format_args!("{name:names$}  {value:values$}  {doc}"),
        );
    }
    render::print_text(&text);
    Ok(Exit::Done)
}
