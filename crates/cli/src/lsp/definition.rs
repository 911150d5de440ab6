//! Go to definition.

use lsp_types::{Location, Position, Range};
use stead_engine::language::editor::{Reference, reference_at};

use crate::lsp::position::DocumentPosition;

/// Returns where that is declared what stands at a place.
pub(crate) fn definition(position: &DocumentPosition<'_>) -> Vec<Location> {
    let cursor = position.cursor();
    let declared = match reference_at(&cursor) {
        Some(Reference::Resource(address)) => position.resources(&address),
        Some(Reference::Profile(name)) => position.profiles(&name),
        Some(Reference::Variable(name)) => {
            let variables = position.variables(&name).into_iter();
            variables.map(|(_, declared)| declared).collect()
        }
        Some(Reference::File(written)) => {
            let path = position.file.include_path(&written);
            if position.documents.read(&path).is_err() {
                return vec![];
            }
            let start = Range::new(Position::new(0, 0), Position::new(0, 0));
            let uri = position.uri(&path).into_iter();
            return uri.map(|uri| Location::new(uri, start)).collect();
        }
        None => vec![],
    };
    let locations = declared.iter();
    locations.filter_map(|it| position.location(it)).collect()
}
