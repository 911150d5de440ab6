//! Files of other tools as the text of a spec. What a spec cannot express becomes a comment, with the reason.

use std::collections::BTreeMap;

use crate::{
    import::{
        collect::unrepresentable,
        coverage::{Coverage, KindCoverage},
    },
    language::print::{PrintedResource, SpecSection, SpecSections, print_spec},
    model::{
        address::Address,
        state::{Desired, State},
    },
    provider::{host::Host, registry::Registry},
};

/// Why a wish is not written.
const NO_KIND: &str = "this version of stead does not have this kind";

/// What was written elsewhere, in the words of kinds.
#[derive(Clone, Debug, Default)]
pub struct ForeignSpec {
    /// Resources, each with the attributes that a spec writes.
    pub resources: BTreeMap<Address, State>,
    /// One comment line above the resources of a kind: what they are.
    pub headings: BTreeMap<String, String>,
    /// What became of all the rest, by kind or by source.
    pub coverage: Coverage,
}

/// Writes wishes as a spec for `host`; what cannot be said is named, there too.
pub fn translate<H: Host>(
    registry: &Registry<H>,
    host: &str,
    foreign: ForeignSpec,
) -> (String, Coverage) {
    let ForeignSpec {
        resources,
        mut headings,
        mut coverage,
    } = foreign;
    let mut groups = SpecSections::new();
    for (Address { kind, name }, state) in resources {
        let why = match registry.get(&kind) {
            None => Some(NO_KIND.to_owned()),
            Some(provider) => match provider.check_name(&name) {
                Err(problem) => Some(problem.to_string()),
                Ok(()) => unrepresentable(provider, &provider.schema(), &name, &state),
            },
        };
        let found = coverage.kind_mut(&kind);
        if let Some(why) = why {
            found.unreadable.insert(name.into(), why);
            continue;
        }
        found.managed.insert(name.to_string());
        let exported = PrintedResource {
            desired: Desired::present(state),
            notes: vec![],
        };
        let group: &mut SpecSection = groups.entry(kind.into()).or_default();
        group.resources.insert(name.into(), exported);
    }
    for (source, found) in &coverage.0 {
        let group = groups.entry(source.clone()).or_default();
        group.heading = headings
            .remove(source)
            .filter(|_| !group.resources.is_empty())
            .unwrap_or_default();
        group.omitted = omitted_lines(found);
        group.secrets.clone_from(&found.secrets);
    }
    (print_spec(registry, host, &groups), coverage)
}

/// Returns what is not written, each with the reason.
fn omitted_lines(found: &KindCoverage) -> Vec<String> {
    let unsaid = found.unreadable.iter();
    let unsaid = unsaid.map(|(name, why)| format!("{name}: {why}"));
    let ignored = found.ignored.iter().flat_map(|(rule, names)| {
        let names = names.iter();
        names.map(move |name| format!("{name}: {rule}"))
    });
    let foreign = found.foreign.iter();
    let foreign = foreign.map(|(whose, count)| format!("{count} made by {whose}"));
    unsaid.chain(ignored).chain(foreign).collect()
}
