//! State of a run in progress.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::window::Window,
    model::{address::Address, schema::Schema, state::State},
    plan::{
        dependencies::Needs,
        document::{Plan, PlannedChange},
        merge,
        observe::Observed,
    },
    run::rollback::Begun,
};

/// A run under way.
pub(crate) struct Running<'a> {
    /// Its number.
    pub(crate) run: u64,
    /// How long it waits for its confirmation, if it does.
    pub(crate) window: Option<Window>,
    pub(crate) plan: &'a Plan,
    pub(crate) needs: Needs<'a>,
    /// What was there when it began.
    pub(crate) start: Observed,
    /// The steps that have begun.
    pub(crate) begun: Vec<Begun>,
    /// What they have changed.
    pub(crate) changed: BTreeSet<Address>,
}

impl Running<'_> {
    /// Whether the run has changed anything that `address` needs.
    pub(crate) fn is_disturbed(&self, address: &Address) -> bool {
        self.needs
            .is_any(address, |need| self.changed.contains(need))
    }

    /// Notes what is there just before a change.
    pub(crate) fn note(
        &mut self,
        begun: &mut Begun,
        schema: &Schema,
        address: &Address,
        before: Option<&State>,
    ) {
        let start = self.start.get(address).cloned().flatten();
        let is_moved = !merge::is_same_reading(schema, start.as_ref(), before);
        if is_moved && !self.changed.contains(address) {
            begun.moved.insert(address.clone(), start);
        }
        begun.before.push((address.clone(), before.cloned()));
        self.changed.insert(address.clone());
    }
}

/// What a verification found.
pub(crate) enum Verified {
    /// All is as planned; this is what is there.
    Reached(BTreeMap<Address, Option<State>>),
    /// The steps of the run have moved these, which need them.
    Moved(Vec<PlannedChange>),
}
