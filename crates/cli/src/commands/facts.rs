//! `stead facts`.

use stead_resources::facts::FACTS;

use crate::{
    context::Context,
    error::CommandError,
    exit::Exit,
    json::FactsDocument,
    render::{self, Column, escape_control, style, table},
};

/// Shows what a spec may ask about this host.
pub(crate) fn facts(context: &Context, as_json: bool) -> Result<Exit, CommandError> {
    let facts = context.facts()?;
    if as_json {
        render::print_data(&FactsDocument::text(facts));
        return Ok(Exit::Done);
    }
    let rows = FACTS.map(|(name, doc)| {
        let value = facts.0.get(name).map_or(String::new(), ToString::to_string);
        [name.to_owned(), escape_control(&value), style::faint(doc)]
    });
    render::print_text(&table("", [Column::LEFT; 3], &rows));
    Ok(Exit::Done)
}
