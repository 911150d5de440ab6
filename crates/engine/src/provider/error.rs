//! What a host answers when it refuses a request of a provider.

use std::error::Error;

use crate::model::address::Address;

/// The world's refusal: which resource, what was attempted, and what the system answered.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot {attempted}")]
pub struct ProviderError {
    /// The resource.
    pub address: Address,
    /// What was attempted, as an infinitive: `replace /etc/motd`.
    pub attempted: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// What the system answered.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl ProviderError {
    /// Makes an error of `kind:name`; `attempted` is an infinitive.
    pub fn new(
        address: Address,
        attempted: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            address,
            attempted: attempted.into(),
            help: None,
            source: source.into(),
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
