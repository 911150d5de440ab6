//! `stead kinds`.

use serde_json::{Map, json};

use crate::{
    args::KindsArgs,
    context::Context,
    exit::Exit,
    json,
    render::{self, Column, table},
};

/// Lists the kinds.
pub(crate) fn kinds(context: &Context, args: &KindsArgs) -> Exit {
    if args.schema {
        render::print_data(&json::schema());
        return Exit::Done;
    }
    if args.json {
        let kinds: Map<_, _> = context
            .registry
            .iter()
            .map(|(name, kind)| (name.to_owned(), json!(kind.schema())))
            .collect();
        let document = json!({ "format": "stead.kinds/1", "kinds": kinds });
        render::print_data(&format!("{document:#}\n"));
        return Exit::Done;
    }
    let rows: Vec<_> = context
        .registry
        .iter()
        .map(|(name, kind)| [name.to_owned(), kind.schema().summary.to_owned()])
        .collect();
    render::print_text(&table("", [Column::LEFT; 2], &rows));
    render::eprint_message("`stead explain KIND` shows its attributes.\n");
    Exit::Done
}
