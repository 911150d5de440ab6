//! The observed and desired state of a resource.

use std::sync::Arc;

use serde_json::Value;

/// A state as the engine sees it.
pub type State = Value;

/// What is wanted of a resource.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It exists with these attributes; what is not written is not managed.
    // A spec, its graph and its plan share them.
    Present(Arc<State>),
    /// It does not exist.
    Absent,
}

impl Desired {
    /// Asks for it to exist with these attributes.
    pub fn present(state: State) -> Self {
        Self::Present(Arc::new(state))
    }

    /// Returns the attributes of what shall exist.
    pub fn state(&self) -> Option<&State> {
        match self {
            Self::Present(state) => Some(state),
            Self::Absent => None,
        }
    }
}
