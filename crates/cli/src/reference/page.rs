//! What all generated pages share.

use std::collections::BTreeMap;

/// A page by its path below `docs/guide/src`.
pub(super) type Pages = BTreeMap<String, String>;

/// What a page begins with that nobody shall edit.
pub(super) const GENERATED_NOTE: &str = "<!-- Made from the code by `make docs`. -->\n";

/// Writes a cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
