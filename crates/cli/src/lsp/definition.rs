//! Go to definition.

use lsp_types::{Location, Position, Range};
use stead_engine::language::editor::{Use, used_at};

use crate::lsp::position::Place;

/// Returns where that is declared what stands at a place.
pub(crate) fn definition(place: &Place<'_>) -> Vec<Location> {
    let cursor = place.cursor();
    let declared = match used_at(&cursor) {
        Some(Use::Resource(address)) => place.resources(&address),
        Some(Use::Profile(name)) => place.profiles(&name),
        Some(Use::Variable(name)) => {
            let variables = place.variables(&name).into_iter();
            variables.map(|(_, declared)| declared).collect()
        }
        Some(Use::File(written)) => {
            let path = place.file.include(&written);
            if place.documents.read(&path).is_err() {
                return vec![];
            }
            let start = Range::new(Position::new(0, 0), Position::new(0, 0));
            let uri = place.uri(&path).into_iter();
            return uri.map(|uri| Location::new(uri, start)).collect();
        }
        None => vec![],
    };
    let locations = declared.iter();
    locations.filter_map(|it| place.location(it)).collect()
}
