//! Checks of a run: what passed before it must pass after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tokio::time::sleep;

use crate::{
    history::window::ConfirmWindow,
    model::{
        address::Address,
        state::{Desired, State},
    },
    plan::document::Plan,
    provider::{
        erased::DynProbeable,
        host::{HealthCheck, Host},
        registry::Registry,
    },
    run::{
        context::VERIFY_PAUSE,
        event::{Event, Observer},
    },
};

/// The checks of a plan, and whether each passed before the run.
pub(crate) struct UserChecks<'a, H: Host> {
    checks: BTreeMap<&'a Address, UserCheck<'a, H>>,
}

struct UserCheck<'a, H: Host> {
    kind: &'a dyn DynProbeable<H>,
    desired: &'a State,
    passed_before: bool,
}

impl<'a, H: Host> UserChecks<'a, H> {
    /// Looks before the first step.
    pub(crate) async fn baseline(
        registry: &'a Registry<H>,
        writer: &H::Writer,
        plan: &'a Plan,
    ) -> Self {
        let mut checks = BTreeMap::new();
        for wanted in &plan.desired {
            let (Desired::Present(desired), Ok(kind)) =
                (&wanted.desired, registry.provider_of(&wanted.address))
            else {
                continue;
            };
            let Some(kind) = kind.probeable() else {
                continue;
            };
            if let Some(result) = kind.probe(writer, &wanted.address.name, desired).await {
                let passed_before = result.is_ok();
                let probe = UserCheck {
                    kind,
                    desired,
                    passed_before,
                };
                checks.insert(&wanted.address, probe);
            }
        }
        Self { checks }
    }

    /// Looks after the last step, as long as each may take. A check that failed before and fails still is told to whoever watches.
    ///
    /// # Errors
    /// The first check that passed before and does not any more, with the reason.
    pub(crate) async fn recheck(
        &self,
        writer: &H::Writer,
        observer: Observer<'_>,
    ) -> Result<(), (Address, String)> {
        for (address, probe) in &self.checks {
            let begin = Instant::now();
            let reason = loop {
                let result = probe.kind.probe(writer, &address.name, probe.desired).await;
                let timeout = probe.kind.probe_timeout(&address.name, probe.desired);
                match result {
                    Some(Err(_)) if begin.elapsed() < timeout => {
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
            if let Some(reason) = reason.filter(|_| probe.passed_before) {
                return Err(((*address).clone(), reason));
            }
        }
        Ok(())
    }
}

/// What should go on working whatever a run changes, and did when it began. Looked at for runs that wait for a confirmation.
pub(crate) struct HealthChecks(BTreeSet<&'static str>);

/// Something worked before the run and does not any more.
#[derive(Debug, thiserror::Error)]
#[error("{name} worked before and fails now: {fault}")]
pub(crate) struct HealthLost {
    name: &'static str,
    fault: String,
}

impl HealthChecks {
    /// Looks before the first step.
    pub(crate) async fn baseline<H: Host>(
        writer: &H::Writer,
        window: Option<ConfirmWindow>,
    ) -> Self {
        if window.is_none() {
            return Self(BTreeSet::new());
        }
        let signs = H::health_checks(writer, &H::now(writer)).await.into_iter();
        let works = signs.filter(|sign| sign.fault.is_none());
        Self(works.map(|sign| sign.name).collect())
    }

    /// Looks after the last step, as long as each may take.
    ///
    /// # Errors
    /// The first that worked before and does not any more.
    pub(crate) async fn recheck<H: Host>(
        mut self,
        writer: &H::Writer,
        observer: Observer<'_>,
    ) -> Result<(), HealthLost> {
        let since = H::now(writer);
        if !self.0.is_empty() {
            observer(&Event::CheckingHealth);
        }
        while !self.0.is_empty() {
            let signs = H::health_checks(writer, &since).await;
            // Of what is not told any more nobody can say that it does not work.
            self.0
                .retain(|name| signs.iter().any(|sign| sign.name == *name));
            for sign in signs {
                let HealthCheck {
                    name,
                    grace_period,
                    fault,
                } = sign;
                let is_over = H::now(writer).has_passed(&since.plus(grace_period));
                if !self.0.contains(name) || fault.is_some() && !is_over {
                    continue;
                }
                self.0.remove(name);
                observer(&Event::HealthResult {
                    name,
                    fault: fault.clone(),
                });
                if let Some(fault) = fault {
                    return Err(HealthLost { name, fault });
                }
            }
            if !self.0.is_empty() {
                sleep(VERIFY_PAUSE).await;
            }
        }
        Ok(())
    }
}
