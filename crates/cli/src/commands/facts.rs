//! `stead facts`.

use stead_resources::facts::FACTS;

use crate::{
    context::Session,
    error::Failure,
    exit::Exit,
    json::FactsDocument,
    render::{self, line, paint, plain},
};

/// Shows what a spec may ask about this host.
pub(crate) fn facts(session: &Session, as_json: bool) -> Result<Exit, Failure> {
    let facts = session.facts()?;
    if as_json {
        render::data(&FactsDocument::text(facts));
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
        let (value, doc) = (plain(&value), paint::faint(doc));
        line(
            &mut text,
            format_args!("{name:names$}  {value:values$}  {doc}"),
        );
    }
    render::page(&text);
    Ok(Exit::Done)
}
