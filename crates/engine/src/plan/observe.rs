//! Reads the host: one batch for each kind, all kinds concurrently.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tracing::{Instrument, debug_span};

use crate::{
    model::{address::Address, state::State},
    provider::{
        error::ProviderError,
        host::Host,
        registry::{Registry, UnknownKind},
    },
};

/// What was read, by address; `None` means that it does not exist.
pub type Observed = BTreeMap<Address, Option<State>>;

/// The host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A plan or journal of another version.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    /// What the kinds could not read; never empty.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Provider(Vec<ProviderError>),
}

/// Reads all `addresses`.
///
/// # Errors
/// All kinds that could not be read, not only the first.
pub async fn observe<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    addresses: impl IntoIterator<Item = &Address>,
) -> Result<Observed, ObserveError> {
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for address in addresses {
        registry.provider_of(address)?;
        kinds
            .entry(&address.kind)
            .or_default()
            .insert(&address.name);
    }
    let batches = kinds.into_iter().map(async |(kind, names)| {
        let names: Vec<_> = names.into_iter().collect();
        let provider = registry.get(kind).expect("looked up above");
        let reading = provider.read(reader, &names);
        let states = reading.instrument(debug_span!("read", kind)).await?;
        let addresses = names.into_iter().map(|name| Address::new(kind, name));
        Ok(addresses.zip(states).collect::<Vec<_>>())
    });
    let mut observed = vec![];
    let mut errors = vec![];
    for batch in join_all(batches).await {
        match batch {
            Ok(mut readings) => observed.append(&mut readings),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(observed.into_iter().collect())
    } else {
        Err(ObserveError::Provider(errors))
    }
}
