//! Facts of a host, by name.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

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
