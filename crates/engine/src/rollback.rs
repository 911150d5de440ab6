//! Going back: every step that began, newest first, to the state in its journal entry; verified.

use std::collections::BTreeMap;

use crate::{
    address::Address,
    change::Change,
    diff,
    event::{Event, Observer},
    journal::Residue,
    observe::observe,
    provider::Host,
    registry::{Registry, State},
    report::chain,
};

/// What was there before a step.
pub(crate) type Before = Vec<(Address, Option<State>)>;

/// What a rollback achieved.
#[derive(Debug, Default)]
pub(crate) struct Rollback {
    pub(crate) reverted: Vec<Address>,
    pub(crate) residue: Vec<Residue>,
}

/// Puts back every step, newest first, past its own failures, and looks at what came of it.
pub(crate) async fn roll_back<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[Before],
    observer: Observer<'_>,
) -> Rollback {
    let mut failures: BTreeMap<Address, String> = BTreeMap::new();
    for step in steps.iter().rev() {
        for (address, before) in step.iter().rev() {
            observer(&Event::Reverting {
                address: address.clone(),
            });
            match put_back(registry, writer, address, before.as_ref()).await {
                Ok(()) => drop(failures.remove(address)),
                Err(reason) => drop(failures.insert(address.clone(), reason)),
            }
        }
    }
    verify(registry, writer, steps, failures).await
}

async fn put_back<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    address: &Address,
    before: Option<&State>,
) -> Result<(), String> {
    let kind = registry.of(address).map_err(|error| error.to_string())?;
    let name = address.name.as_str();
    kind.clean(writer, name)
        .await
        .map_err(|error| chain(&error).join(": "))?;
    let mut now = kind
        .read(&H::reader(writer), &[name])
        .await
        .map_err(|error| chain(&error).join(": "))?;
    let now = now.pop().flatten();
    if now.as_ref() == before {
        return Ok(());
    }
    let Some(change) = Change::between(now, before.cloned()) else {
        return Ok(());
    };
    kind.apply(writer, vec![(name, change)])
        .await
        .map_err(|error| chain(&error).join(": "))
}

/// Compares every address with the oldest state that a step recorded for it.
async fn verify<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    steps: &[Before],
    failures: BTreeMap<Address, String>,
) -> Rollback {
    let mut oldest: BTreeMap<&Address, Option<&State>> = BTreeMap::new();
    let mut newest_first = vec![];
    for (address, before) in steps.iter().rev().flat_map(|step| step.iter().rev()) {
        oldest.insert(address, before.as_ref());
        newest_first.push(address);
    }
    let mut rollback = Rollback::default();
    for address in newest_first {
        let Some(before) = oldest.remove(address) else {
            continue;
        };
        match difference(registry, writer, address, before).await {
            None => rollback.reverted.push(address.clone()),
            Some(difference) => rollback.residue.push(Residue {
                address: address.clone(),
                reason: failures.get(address).cloned().unwrap_or(difference),
            }),
        }
    }
    rollback
}

async fn difference<H: Host>(
    registry: &Registry<H>,
    writer: &H::Writer,
    address: &Address,
    before: Option<&State>,
) -> Option<String> {
    let observed = match observe(registry, &H::reader(writer), [address]).await {
        Ok(mut observed) => observed.remove(address).flatten(),
        Err(error) => return Some(chain(&error).join(": ")),
    };
    let schema = registry.of(address).ok()?.schema();
    match (before, &observed) {
        (None, None) => None,
        (None, Some(_)) => Some("still exists".to_owned()),
        (Some(_), None) => Some("does not exist any more".to_owned()),
        (Some(before), Some(now)) => {
            let names: Vec<_> = diff::differences(&schema, before, now).collect();
            (!names.is_empty()).then(|| format!("{} is not as before", names.join(", ")))
        }
    }
}
