//! Checks of a run: what worked before it must work after it.

use std::{collections::BTreeMap, time::Instant};

use tokio::time::sleep;

use crate::{
    address::Address,
    apply::VERIFY_PAUSE,
    event::{Event, Observer},
    plan::Plan,
    provider::Host,
    registry::{Kind, Registry, State},
    spec::Desired,
};

/// The checks of a plan, and whether each passed before the run.
pub(crate) struct Probes<'a, H: Host> {
    probes: BTreeMap<&'a Address, Probe<'a, H>>,
}

struct Probe<'a, H: Host> {
    kind: &'a dyn Kind<H>,
    desired: &'a State,
    passed: bool,
}

impl<'a, H: Host> Probes<'a, H> {
    /// Looks before the first step.
    pub(crate) async fn before(
        registry: &'a Registry<H>,
        writer: &H::Writer,
        plan: &'a Plan,
    ) -> Self {
        let mut probes = BTreeMap::new();
        for wanted in &plan.wanted {
            let (Desired::Present(desired), Ok(kind)) =
                (&wanted.desired, registry.of(&wanted.address))
            else {
                continue;
            };
            if let Some(said) = kind.probe(writer, &wanted.address.name, desired).await {
                let passed = said.is_ok();
                let probe = Probe {
                    kind,
                    desired,
                    passed,
                };
                probes.insert(&wanted.address, probe);
            }
        }
        Self { probes }
    }

    /// Looks after the last step, as long as each may take. A check that failed before and fails still is told to whoever watches.
    ///
    /// # Errors
    /// The first check that passed before and does not any more, with the reason.
    pub(crate) async fn after(
        &self,
        writer: &H::Writer,
        observer: Observer<'_>,
    ) -> Result<(), (Address, String)> {
        for (address, probe) in &self.probes {
            let begin = Instant::now();
            let reason = loop {
                let said = probe.kind.probe(writer, &address.name, probe.desired).await;
                match said {
                    Some(Err(_)) if begin.elapsed() < probe.kind.patience(probe.desired) => {
                        sleep(VERIFY_PAUSE).await;
                    }
                    Some(Err(reason)) => break Some(reason),
                    Some(Ok(())) | None => break None,
                }
            };
            observer(&Event::Checked {
                address: (*address).clone(),
                fault: reason.clone(),
            });
            if let Some(reason) = reason.filter(|_| probe.passed) {
                return Err(((*address).clone(), reason));
            }
        }
        Ok(())
    }
}
