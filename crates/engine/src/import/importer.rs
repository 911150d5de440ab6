//! Import: a spec from a host. List, read, print; then the plan of the spec must be empty, or nothing is written.

use futures::future::join_all;
use tracing::{Instrument, debug_span};

use crate::{
    import::{
        collect::collect,
        coverage::Coverage,
        options::{CopiedSource, ImportError, ImportOptions, MachineSpecific},
        verify::RoundTrip,
    },
    language::print::SpecSections,
    model::listing::ExportTarget,
    provider::{host::Host, registry::Registry},
};

/// A host, written down and proven.
#[derive(Debug)]
pub struct Imported {
    /// What every host has that shall be like this one.
    pub spec: String,
    /// What concerns this machine alone; `None` if that is nothing, or stands in `spec`.
    pub machine_spec: Option<String>,
    /// Files of this host whose bytes go beside the spec.
    pub sources: Vec<CopiedSource>,
    /// How many resources are written in both.
    pub resources: usize,
    /// What became of everything.
    pub coverage: Coverage,
}

/// Writes a host down. Changes nothing, and writes no file.
///
/// # Errors
/// When what was written would not be an empty plan on this host.
pub async fn import<H: Host>(
    registry: &Registry<H>,
    reader: &H::Reader,
    import: &ImportOptions<'_>,
) -> Result<Imported, ImportError> {
    let kinds = registry
        .iter()
        .filter(|(kind, _)| import.includes_kind(kind));
    let gathered = join_all(kinds.map(async |(name, kind)| {
        let gathering = collect(import, reader, name, kind);
        let span = debug_span!("read", kind = name);
        (name, gathering.instrument(span).await)
    }));
    let mut coverage = Coverage::default();
    let mut parts = SpecParts::default();
    for (kind, gathered) in gathered.await {
        coverage.0.insert(kind.to_owned(), gathered.listing.into());
        for (concerns, group) in gathered.sections {
            let sections = parts
                .sections_for(import, concerns)
                .entry(kind.to_owned())
                .or_default();
            sections.merge(group);
        }
    }
    let mut round_trip = RoundTrip::begin(registry, reader, import, coverage).await;
    let spec = round_trip.verify(parts.shared).await?;
    let machine_spec = if parts.machine.is_empty() {
        None
    } else {
        Some(round_trip.verify(parts.machine).await?)
    };
    Ok(Imported {
        spec,
        machine_spec,
        sources: round_trip.sources.into_iter().collect(),
        resources: round_trip.resources,
        coverage: round_trip.coverage,
    })
}

#[derive(Default)]
struct SpecParts {
    shared: SpecSections,
    machine: SpecSections,
}

impl SpecParts {
    fn sections_for(
        &mut self,
        import: &ImportOptions<'_>,
        concerns: ExportTarget,
    ) -> &mut SpecSections {
        match (concerns, import.machine_specific) {
            (ExportTarget::Machine, MachineSpecific::Separate) => &mut self.machine,
            _ => &mut self.shared,
        }
    }
}
