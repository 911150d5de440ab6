//! Digests of what was read, by which a stale plan is detected.

use crate::{
    model::{address::Address, digest::digest, state::State},
    plan::{document::Readings, merge, observe::Observed},
    provider::{host::Host, registry::Registry},
};

/// Returns the digest of each reading, as `Plan::readings` has them.
pub(crate) fn readings<H: Host>(registry: &Registry<H>, observed: &Observed) -> Readings {
    let observed = observed.iter();
    observed
        .map(|(address, state)| (address.clone(), reading(registry, address, state.as_ref())))
        .collect()
}

/// Returns the digest of one reading, as `Plan::readings` has it.
pub(crate) fn reading<H: Host>(
    registry: &Registry<H>,
    address: &Address,
    state: Option<&State>,
) -> String {
    match (registry.of(address), state) {
        (Ok(kind), Some(state)) => digest(&merge::compared(&kind.schema(), state)),
        _ => "absent".to_owned(),
    }
}
