//! A change of one resource, and its effects.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// One change of one resource; `before` is all that rollback needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Change<S> {
    /// The resource does not exist and shall.
    Create {
        /// The state to reach.
        after: S,
    },
    /// The resource exists and differs.
    Update {
        /// The state that was observed.
        before: S,
        /// The state to reach: the desired attributes merged into `before`.
        after: S,
    },
    /// The resource exists and shall not.
    Delete {
        /// The state that was observed.
        before: S,
    },
}

impl<S> Change<S> {
    /// Makes the change that leads from `before` to `after`; `None` when neither exists.
    pub fn between(before: Option<S>, after: Option<S>) -> Option<Self> {
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(Self::Create { after }),
            (Some(before), Some(after)) => Some(Self::Update { before, after }),
            (Some(before), None) => Some(Self::Delete { before }),
        }
    }

    /// Makes the same change of borrowed states.
    pub fn as_ref(&self) -> Change<&S> {
        match self {
            Self::Create { after } => Change::Create { after },
            Self::Update { before, after } => Change::Update { before, after },
            Self::Delete { before } => Change::Delete { before },
        }
    }

    /// Returns the state before the change, or `None` if the resource did not exist.
    pub fn before(&self) -> Option<&S> {
        match self {
            Self::Create { .. } => None,
            Self::Update { before, .. } | Self::Delete { before } => Some(before),
        }
    }

    /// Returns the state after the change, or `None` if the resource will not exist.
    pub fn after(&self) -> Option<&S> {
        match self {
            Self::Create { after } | Self::Update { after, .. } => Some(after),
            Self::Delete { .. } => None,
        }
    }

    /// Converts both states, stopping at the first that cannot be converted.
    pub fn try_map<T, E>(self, mut convert: impl FnMut(S) -> Result<T, E>) -> Result<Change<T>, E> {
        Ok(match self {
            Self::Create { after } => Change::Create {
                after: convert(after)?,
            },
            Self::Update { before, after } => Change::Update {
                before: convert(before)?,
                after: convert(after)?,
            },
            Self::Delete { before } => Change::Delete {
                before: convert(before)?,
            },
        })
    }
}

/// What a change costs and may break, known before it is made.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Effects {
    /// Services that the change restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<String>,
    /// Bytes to download.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub download: u64,
    /// Expected outage in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outage: u64,
    /// Why the change could cut the network, if it could.
    #[serde(default)]
    pub may_cut_network: Option<String>,
    /// What cannot be brought back, if anything.
    #[serde(default)]
    pub irreversible: Option<String>,
    /// What stays when the change is rolled back, beside what was there before, if anything.
    #[serde(default)]
    pub leaves: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
