//! The state of an iptables rule.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::model::schema::Problem;

use crate::{
    netfilter::{ChainName, PerVariant, RulePosition, split_words},
    values::setting::Setting,
};

/// The table of a rule that names none, as for iptables itself.
pub(crate) const DEFAULT_TABLE: &str = "filter";

/// State of a rule.
///
/// ```kdl
/// iptables-rule "allow ssh" chain="INPUT" position="first" {
///     match "-p" "tcp" "--dport" "22"
///     jump "ACCEPT"
/// }
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) table: Option<String>,
    #[serde(default)]
    pub(crate) chain: Option<String>,
    #[serde(default)]
    pub(super) family: Option<String>,
    #[serde(default)]
    pub(super) backend: Option<String>,
    #[serde(default)]
    pub(super) persist: Option<bool>,
    #[serde(default)]
    pub(crate) position: Option<String>,
    #[serde(default, rename = "match")]
    pub(super) matches: Option<Vec<String>>,
    #[serde(default)]
    pub(super) jump: Option<Vec<String>>,
    #[serde(flatten)]
    pub(crate) columns: PerVariant<Setting>,
    /// Where it stands, by column, so that rollback is exact.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) places: BTreeMap<String, RecordedPosition>,
}

/// Where a rule stands, and its text as iptables prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedPosition {
    pub(crate) table: String,
    pub(crate) chain: String,
    /// Counted from 1.
    pub(crate) index: usize,
    pub(crate) text: String,
}

/// Reads a position.
pub(crate) fn parse_position(position: &str) -> Option<RulePosition> {
    match position.split_once(':') {
        None if position == "first" => Some(RulePosition::First),
        None if position == "last" => Some(RulePosition::Last),
        Some(("before", name)) if !name.is_empty() => Some(RulePosition::Before(name.to_owned())),
        Some(("after", name)) if !name.is_empty() => Some(RulePosition::After(name.to_owned())),
        _ => None,
    }
}

impl State {
    pub(super) fn chain_name(&self) -> Result<ChainName<'_>, Problem> {
        let table = self.table.as_deref().unwrap_or(DEFAULT_TABLE);
        let chain = self.chain.as_deref().unwrap_or_default();
        ChainName::new(table, chain)
    }

    /// Returns all words behind the chain, without the name.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = split_words(self.matches.as_deref());
        let jump = split_words(self.jump.as_deref());
        if !jump.is_empty() {
            words.push("-j".to_owned());
            words.extend(jump);
        }
        words
    }

    pub(super) fn is_declared(&self) -> bool {
        self.chain.is_some()
    }
}
