//! What an editor asks about a text that is just being typed: its nodes as far as they can be understood, what may stand
//! at a place, and what is declared where. Whether the text is right is said by [`crate::language::resolve`] alone.

pub(crate) mod completion;
pub(crate) mod keywords;
pub(crate) mod outline;
pub(crate) mod symbols;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use completion::{Blank, Cursor, cursor};
pub use keywords::{GENERIC, Part, is_word};
pub use outline::{Entry, Node, Outline, Word, outline};
pub use symbols::{Names, Use, Variable, names, used_at};

use crate::{
    language::{error::SpecErrors, fragment, include, source::Source},
    provider::{registry::Registry, traits::Host},
};

/// Returns the path by which the language knows a file: without `.` and `..`, without looking at links.
pub fn normal(path: &Path) -> PathBuf {
    include::normal(path)
}

/// Checks a file that others include, by itself: what takes values from elsewhere is left to whoever includes it.
///
/// # Errors
/// All mistakes in it.
pub fn check_included<H: Host>(
    source: &Arc<Source>,
    registry: &Registry<H>,
) -> Result<(), SpecErrors> {
    let read = crate::language::parse::on_a_large_stack(|| {
        fragment::fragment(source, registry, fragment::Part::Included)
            .map(|fragment| fragment.errors)
    });
    match read? {
        errors if errors.is_empty() => Ok(()),
        errors => Err(SpecErrors(errors)),
    }
}
