//! State of a run in progress.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::window::ConfirmWindow,
    model::{address::Address, schema::Schema, state::State},
    plan::{
        dependencies::Dependencies,
        document::{Plan, PlannedChange},
        merge,
        observe::Observed,
    },
    run::rollback::StartedStep,
};

/// A run under way.
pub(crate) struct RunProgress<'a> {
    /// Its number.
    pub(crate) run: u64,
    /// How long it waits for its confirmation, if it does.
    pub(crate) window: Option<ConfirmWindow>,
    pub(crate) plan: &'a Plan,
    pub(crate) dependencies: Dependencies<'a>,
    /// What was there when it began.
    pub(crate) start_states: Observed,
    /// The steps that have begun.
    pub(crate) started: Vec<StartedStep>,
    /// What they have changed.
    pub(crate) changed: BTreeSet<Address>,
}

impl RunProgress<'_> {
    /// Whether the run has changed anything that `address` needs.
    pub(crate) fn depends_on_changed(&self, address: &Address) -> bool {
        self.dependencies
            .depends_on_any(address, |need| self.changed.contains(need))
    }

    /// Notes what is there just before a change.
    pub(crate) fn record_before(
        &mut self,
        step: &mut StartedStep,
        schema: &Schema,
        address: &Address,
        before: Option<&State>,
    ) {
        let start = self.start_states.get(address).cloned().flatten();
        let is_moved = !merge::is_same_state(schema, start.as_ref(), before);
        if is_moved && !self.changed.contains(address) {
            step.start_states.insert(address.clone(), start);
        }
        step.before.push((address.clone(), before.cloned()));
        self.changed.insert(address.clone());
    }
}

/// What a verification found.
pub(crate) enum Verification {
    /// All is as planned; this is what is there.
    Converged(BTreeMap<Address, Option<State>>),
    /// The steps of the run have moved these, which need them.
    Diverged(Vec<PlannedChange>),
}
