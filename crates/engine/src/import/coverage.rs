//! The coverage of an import: what was written of each kind, and what became of everything else. Nothing is left out silently.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::model::listing::Listing;

/// What became of everything that import looked at, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Coverage(pub BTreeMap<String, KindCoverage>);

/// What became of the resources of one kind.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct KindCoverage {
    /// Names that were written down.
    pub managed: BTreeSet<String>,
    /// How many are as a bare host has them.
    pub default: usize,
    /// How many were made by a known program, by its name.
    pub foreign: BTreeMap<String, usize>,
    /// Names that were passed over, by the rule that says so.
    pub ignored: BTreeMap<String, BTreeSet<String>>,
    /// Names that hold secrets and were left out.
    pub secrets: BTreeSet<String>,
    /// Names that could not be seen or said, with the reason.
    pub unreadable: BTreeMap<String, String>,
    /// Why import never writes this kind, if so.
    #[serde(default)]
    #[serde(rename = "outside")]
    pub not_importable: Option<String>,
}

impl Coverage {
    /// Whether everything could be seen and said.
    pub fn is_complete(&self) -> bool {
        self.0.values().all(|kind| kind.unreadable.is_empty())
    }

    /// Returns what there is of a kind.
    pub fn kind_mut(&mut self, kind: &str) -> &mut KindCoverage {
        self.0.entry(kind.to_owned()).or_default()
    }
}

impl KindCoverage {
    /// Passes a name over by a rule.
    pub fn ignore(&mut self, rule: impl Into<String>, name: impl Into<String>) {
        let names = self.ignored.entry(rule.into()).or_default();
        names.insert(name.into());
    }
}

impl From<Listing> for KindCoverage {
    fn from(listing: Listing) -> Self {
        let Listing {
            heading: _,
            mut managed,
            absent,
            default,
            foreign,
            ignored,
            secrets,
            unreadable,
            not_importable,
        } = listing;
        managed.extend(absent);
        Self {
            managed,
            default,
            foreign,
            ignored,
            secrets,
            unreadable,
            not_importable: not_importable.map(str::to_owned),
        }
    }
}
