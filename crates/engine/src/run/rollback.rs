//! Rollback: restores every step that began, newest first, to the state in its journal entry, and verifies it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::journal::Residue,
    model::{address::Address, change::Change, error_chain::error_chain, state::State},
    plan::{merge, observe::observe},
    provider::{error::ProviderError, host::Host, registry::Registry},
    run::event::{Event, Observer},
};

/// A step that has begun.
#[derive(Debug, Default)]
pub(crate) struct StartedStep {
    /// What was there just before it.
    pub(crate) before: Vec<(Address, Option<State>)>,
    /// What was there when the run began, where its earlier steps had moved it since.
    pub(crate) start_states: BTreeMap<Address, Option<State>>,
    /// What removing those that are to be made would leave and was there already.
    pub(crate) remnants: BTreeMap<Address, BTreeSet<String>>,
}

impl StartedStep {
    /// What rollback restores. What came to be with something that an earlier step made goes with that, but for its traces.
    fn to_restore<H: Host>(&self, registry: &Registry<H>) -> Vec<(Address, Option<State>)> {
        let to_restore = self.before.iter().filter_map(|(address, before)| {
            match self.start_states.get(address) {
                Some(None) => outlives_parent(registry, address).then(|| (address.clone(), None)),
                _ => Some((address.clone(), before.clone())),
            }
        });
        to_restore.collect()
    }
}

/// What a rollback achieved.
#[derive(Debug, Default)]
pub(crate) struct RollbackReport {
    pub(crate) restored: Vec<Address>,
    pub(crate) residue: Vec<Residue>,
    /// Whether trying again may help: something is not as before.
    pub(crate) is_retryable: bool,
}

/// Why something could not be put back.
#[derive(Debug)]
enum RestoreError {
    /// What a killed step left beside it may still be there, and no state shows that.
    Unclean(String),
    /// The change to what was before.
    Change(String),
}

/// How often a rollback tries what it could not put back: what held it up may have passed.
const MAX_PASSES: usize = 2;

/// Puts back every step, newest first, past its own failures, and looks at what came of it.
pub(crate) async fn roll_back<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[StartedStep],
    observer: Observer<'_>,
) -> RollbackReport {
    let mut rollback = RollbackReport::default();
    for _ in 0..MAX_PASSES {
        let failures = restore_all(registry, writer, steps, observer).await;
        rollback = verify(registry, writer, steps, failures).await;
        if rollback.residue.is_empty() {
            break;
        }
    }
    rollback
}

/// Puts back every step once and says what refused. A step is rolled back as it was made, several changes at once;
/// if that is refused, one by one. Restarts come last, in the order in which they were made.
async fn restore_all<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[StartedStep],
    observer: Observer<'_>,
) -> BTreeMap<Address, RestoreError> {
    let mut failures = BTreeMap::new();
    let is_restart = |step: &&StartedStep| {
        let first = step.before.first();
        first.is_some_and(|(address, _)| is_restart(registry, address))
    };
    let (restarts, others): (Vec<_>, Vec<_>) = steps.iter().partition(is_restart);
    for step in others.into_iter().rev().chain(restarts) {
        let step = step.to_restore(registry);
        for (address, _) in step.iter().rev() {
            observer(&Event::Restoring {
                address: address.clone(),
            });
        }
        if restore(registry, writer, &step).await.is_ok() {
            continue;
        }
        for change in step.iter().rev() {
            if let Err(refusal) = restore(registry, writer, std::slice::from_ref(change)).await {
                failures.insert(change.0.clone(), refusal);
            }
        }
    }
    failures
}

/// Puts back changes of one kind, the last one first.
async fn restore<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    step: &[(Address, Option<State>)],
) -> Result<(), RestoreError> {
    let change = |error: &ProviderError| RestoreError::Change(message(error));
    let Some((first, _)) = step.first() else {
        return Ok(());
    };
    let kind = registry
        .provider_of(first)
        .map_err(|error| RestoreError::Change(error.to_string()))?;
    let reversible = kind.reversible();
    for (address, _) in step {
        if let Some(kind) = reversible {
            kind.remove_partial(writer, &address.name)
                .await
                .map_err(|error| RestoreError::Unclean(message(&error)))?;
        }
    }
    let names: Vec<_> = step
        .iter()
        .map(|(address, _)| address.name.as_str())
        .collect();
    let now = kind
        .read(&H::reader(writer), &names)
        .await
        .map_err(|error| change(&error))?;
    let changes: Vec<_> = step
        .iter()
        .zip(now)
        .rev()
        .filter(|((_, before), now)| before != now)
        .filter_map(|((address, before), now)| {
            Some((address.name.as_str(), Change::between(now, before.clone())?))
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    let restored = match reversible {
        Some(kind) => kind.roll_back(writer, changes).await,
        None => kind.apply(writer, changes).await,
    };
    restored.map_err(|error| change(&error))
}

/// Whether the resource is a restart, which a rollback and an undo make last.
pub(crate) fn is_restart<H: Host>(registry: &Registry<H>, address: &Address) -> bool {
    let kind = registry.provider_of(address);
    kind.is_ok_and(|kind| kind.schema().lifecycle.is_restart)
}

/// Compares every address with what was there when the run began: what the first step that changed it recorded.
async fn verify<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[StartedStep],
    failures: BTreeMap<Address, RestoreError>,
) -> RollbackReport {
    let mut seen = BTreeSet::new();
    let mut start: Vec<(&Address, &Option<State>)> = vec![];
    for step in steps {
        for (address, before) in &step.before {
            if seen.insert(address) {
                start.push((address, step.start_states.get(address).unwrap_or(before)));
            }
        }
    }
    let newest_first = || start.iter().rev().copied();
    let together = observe(
        registry,
        &H::reader(writer),
        newest_first().map(|(address, _)| address),
    )
    .await;
    let mut rollback = RollbackReport::default();
    for (address, before) in newest_first() {
        let now = match &together {
            Ok(observed) => Ok(observed[address].clone()),
            Err(_) => observe(registry, &H::reader(writer), [address])
                .await
                .map(|mut observed| observed.remove(address).flatten())
                .map_err(|error| message(&error)),
        };
        let difference = now.map_or_else(Some, |now| {
            describe_difference(registry, address, before.as_ref(), now.as_ref())
        });
        match (&difference, failures.get(address)) {
            (None, None | Some(RestoreError::Change(_))) => {
                rollback.restored.push(address.clone());
                let left = new_remnants(registry, writer, steps, address).await;
                if before.is_none() && !left.is_empty() {
                    rollback.residue.push(Residue {
                        address: address.clone(),
                        reason: format!("leaves {}", left.join(", ")),
                    });
                }
            }
            (_, Some(RestoreError::Unclean(reason) | RestoreError::Change(reason)))
            | (Some(reason), None) => {
                rollback.is_retryable = true;
                rollback.residue.push(Residue {
                    address: address.clone(),
                    reason: reason.clone(),
                });
            }
        }
    }
    rollback
}

/// Whether a resource leaves traces when what brought it goes.
pub(crate) fn outlives_parent<H: Host>(registry: &Registry<H>, address: &Address) -> bool {
    let kind = registry.provider_of(address);
    kind.is_ok_and(|kind| kind.schema().lifecycle.outlives_parent)
}

/// Names what a resource that the run made has left, beyond what was there before its step.
async fn new_remnants<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[StartedStep],
    address: &Address,
) -> Vec<String> {
    let kind = registry.provider_of(address).ok();
    let Some(kind) = kind.and_then(|kind| kind.reversible()) else {
        return vec![];
    };
    let before: BTreeSet<_> = steps
        .iter()
        .filter_map(|step| step.remnants.get(address))
        .flatten()
        .collect();
    let now = kind.remnants(&H::reader(writer), &address.name).await;
    now.into_iter()
        .filter(|one| !before.contains(one))
        .collect()
}

/// Says in what a reading is not as before, if it is not.
fn describe_difference<H: Host>(
    registry: &Registry<H>,
    address: &Address,
    before: Option<&State>,
    now: Option<&State>,
) -> Option<String> {
    match (before, now) {
        (None, None) => None,
        (None, Some(_)) => Some("still exists".to_owned()),
        (Some(_), None) => Some("no longer exists".to_owned()),
        (Some(before), Some(now)) => {
            let schema = registry.provider_of(address).ok()?.schema();
            let names: Vec<_> = merge::differences(&schema, before, now).collect();
            (!names.is_empty()).then(|| format!("{} differs from before", names.join(", ")))
        }
    }
}

fn message(error: &dyn std::error::Error) -> String {
    error_chain(error).join(": ")
}
