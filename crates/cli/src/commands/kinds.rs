//! `stead kinds`.

use serde_json::{Map, json};

use crate::{args::Kinds, context::Session, exit::Exit, json, render};

/// Lists the kinds.
pub(crate) fn kinds(session: &Session, args: &Kinds) -> Exit {
    if args.schema {
        render::data(&json::schema());
        return Exit::Done;
    }
    if args.json {
        let kinds: Map<_, _> = session
            .registry
            .iter()
            .map(|(name, kind)| (name.to_owned(), json!(kind.schema())))
            .collect();
        let document = json!({ "format": "stead.kinds/1", "kinds": kinds });
        render::data(&format!("{document:#}\n"));
        return Exit::Done;
    }
    let width = session
        .registry
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let lines = session
        .registry
        .iter()
        .map(|(name, kind)| format!("{name:width$}  {}\n", kind.schema().summary));
    render::page(&lines.collect::<String>());
    render::message("`stead explain KIND` shows its attributes.\n");
    Exit::Done
}
