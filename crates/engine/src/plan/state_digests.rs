//! Digests of what was read, by which a stale plan is detected.

use crate::{
    model::{address::Address, digest::digest, state::State},
    plan::{document::StateDigests, merge, observe::Observed},
    provider::{host::Host, registry::Registry},
};

/// Returns the digest of each reading, as `Plan::state_digests` has them.
pub(crate) fn state_digests<H: Host>(registry: &Registry<H>, observed: &Observed) -> StateDigests {
    let observed = observed.iter();
    observed
        .map(|(address, state)| {
            (
                address.clone(),
                state_digest(registry, address, state.as_ref()),
            )
        })
        .collect()
}

/// Returns the digest of one reading, as `Plan::state_digests` has it.
pub(crate) fn state_digest<H: Host>(
    registry: &Registry<H>,
    address: &Address,
    state: Option<&State>,
) -> String {
    match (registry.provider_of(address), state) {
        (Ok(kind), Some(state)) => digest(&merge::compared_attributes(&kind.schema(), state)),
        _ => "absent".to_owned(),
    }
}
