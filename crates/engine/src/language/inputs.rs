//! What a spec may read besides its own text: included files, assigned values, the
//! environment, and facts of the host. The caller provides access; the engine only asks.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use crate::{language::assignment::Assignment, model::facts::Facts};

/// Reads a file.
pub type ReadFile<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + Sync + 'a;

/// The means by which a spec gets what is not in its own text.
pub struct SpecInputs<'a> {
    /// Reads a file that is included.
    pub read: &'a ReadFile<'a>,
    /// Values for variables, those that count more last.
    pub assignments: &'a [Assignment],
    /// Looks an environment variable up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Reads the facts; called at most once, and only if the spec asks for one.
    pub facts: &'a dyn Fn() -> Facts,
}

impl SpecInputs<'static> {
    /// Those of a text that stands for itself alone: nothing can be included, nothing is given, nothing is known.
    pub fn isolated() -> Self {
        Self {
            read: &|_| Err(io::Error::from(ErrorKind::NotFound)),
            assignments: &[],
            environment: &|_| None,
            facts: &Facts::default,
        }
    }
}
