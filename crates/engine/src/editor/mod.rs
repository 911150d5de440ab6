//! What an editor asks about a text that is just being typed: its nodes as far as they can be understood, what may stand
//! at a place, and what is declared where. Whether the text is right is said by [`crate::resolve`] alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

mod blank;
mod names;
mod outline;
mod words;

pub use blank::{Blank, Cursor, Gap, cursor};
pub use names::{Names, Use, Variable, names, used_at};
pub use outline::{Entry, Node, Outline, Word, outline};
pub use words::{GENERIC, Part, is_word};

use crate::{
    files, fragment,
    provider::{registry::Registry, traits::Host},
    spec::Source,
    spec_error::SpecErrors,
};

/// Returns the path by which the language knows a file: without `.` and `..`, without looking at links.
pub fn normal(path: &Path) -> PathBuf {
    files::normal(path)
}

/// Checks a file that others include, by itself: what takes values from elsewhere is left to whoever includes it.
///
/// # Errors
/// All mistakes in it.
pub fn check_included<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
) -> Result<(), SpecErrors> {
    let read = crate::parse::on_a_large_stack(|| {
        fragment::fragment(source, registry, fragment::Part::Included)
            .map(|fragment| fragment.errors)
    });
    match read? {
        errors if errors.is_empty() => Ok(()),
        errors => Err(SpecErrors(errors)),
    }
}
