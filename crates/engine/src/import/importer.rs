//! Import: a spec from a host. List, read, print; then the plan of the spec must be empty, or nothing is written.

use futures::future::join_all;
use tracing::{Instrument, debug_span};

use crate::{
    import::{
        collect::gather,
        coverage::Coverage,
        options::{Apart, CopiedSource, Import, ImportError},
        verify::Proof,
    },
    language::print::Groups,
    model::listing::Concerns,
    provider::{host::Host, registry::Registry},
};

/// A host, written down and proven.
#[derive(Debug)]
pub struct Imported {
    /// What every host has that shall be like this one.
    pub spec: String,
    /// What concerns this machine alone; `None` if that is nothing, or stands in `spec`.
    pub own: Option<String>,
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
    import: &Import<'_>,
) -> Result<Imported, ImportError> {
    let kinds = registry.iter().filter(|(kind, _)| import.wants(kind));
    let gathered = join_all(kinds.map(async |(name, kind)| {
        let gathering = gather(import, reader, name, kind);
        let span = debug_span!("read", kind = name);
        (name, gathering.instrument(span).await)
    }));
    let mut coverage = Coverage::default();
    let mut parts = Parts::default();
    for (kind, gathered) in gathered.await {
        coverage.0.insert(kind.to_owned(), gathered.listing.into());
        for (concerns, group) in gathered.groups {
            let there = parts
                .of(import, concerns)
                .entry(kind.to_owned())
                .or_default();
            there.merge(group);
        }
    }
    let mut proof = Proof::begin(registry, reader, import, coverage).await;
    let spec = proof.prove(parts.all).await?;
    let own = if parts.own.is_empty() {
        None
    } else {
        Some(proof.prove(parts.own).await?)
    };
    Ok(Imported {
        spec,
        own,
        sources: proof.sources.into_iter().collect(),
        resources: proof.resources,
        coverage: proof.coverage,
    })
}

#[derive(Default)]
struct Parts {
    all: Groups,
    own: Groups,
}

impl Parts {
    fn of(&mut self, import: &Import<'_>, concerns: Concerns) -> &mut Groups {
        match (concerns, import.apart) {
            (Concerns::ThisMachine, Apart::Yes) => &mut self.own,
            _ => &mut self.all,
        }
    }
}
