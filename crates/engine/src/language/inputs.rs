//! What a spec may ask for besides its own text: files that it includes, values that were given to it, the
//! environment, and facts of the host. The caller has the means; the engine only says what it wants.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::language::assignment::Given;

/// What a fact is that a host does not have.
pub const NONE: &str = "none";

/// What is told about a host, by name. All facts are there on every host; what a host does not have is `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Facts(pub BTreeMap<String, Fact>);

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Fact {
    /// A number, in the unit that the fact has.
    Number(i64),
    /// A word or a version.
    Text(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// Reads a file.
pub type Read<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + Sync + 'a;

/// The means by which a spec gets what is not in its own text.
pub struct Surroundings<'a> {
    /// Reads a file that is included.
    pub read: &'a Read<'a>,
    /// Values for variables, those that count more last.
    pub given: &'a [Given],
    /// Looks a variable of the environment up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Reads the facts; called at most once, and only if the spec asks for one.
    pub facts: &'a dyn Fn() -> Facts,
}

impl Surroundings<'static> {
    /// Those of a text that stands for itself alone: nothing can be included, nothing is given, nothing is known.
    pub fn none() -> Self {
        Self {
            read: &|_| Err(io::Error::from(ErrorKind::NotFound)),
            given: &[],
            environment: &|_| None,
            facts: &Facts::default,
        }
    }
}
