//! Wishes that were written elsewhere, as the text of a spec.

use std::collections::BTreeMap;

use crate::{
    address::Address,
    coverage::Coverage,
    export::{Exported, Group, Groups, spec_text},
    gather::fault,
    provider::Host,
    registry::{Registry, State},
    spec::Desired,
};

/// Why a wish is not written.
const NO_KIND: &str = "this version of stead has no such kind";

/// Writes wishes as a spec for `host`; what cannot be said is named.
pub fn translate<H: Host>(
    registry: &Registry<H>,
    host: &str,
    wishes: BTreeMap<Address, State>,
) -> (String, Coverage) {
    let mut coverage = Coverage::default();
    let mut groups = Groups::new();
    for (Address { kind, name }, state) in wishes {
        let why = match registry.get(&kind) {
            None => Some(NO_KIND.to_owned()),
            Some(provider) => match provider.check_name(&name) {
                Err(problem) => Some(problem.to_string()),
                Ok(()) => fault(provider, &provider.schema(), &name, &state),
            },
        };
        let found = coverage.of(&kind);
        if let Some(why) = why {
            found.unreadable.insert(name, why);
            continue;
        }
        found.managed.insert(name.clone());
        let exported = Exported {
            desired: Desired::Present(state),
            notes: vec![],
        };
        let group: &mut Group = groups.entry(kind).or_default();
        group.resources.insert(name, exported);
    }
    (spec_text(registry, host, &groups), coverage)
}
