//! The plan: what would change, in which order, why, and at what cost. Inert data; the same bytes for the same spec and readings.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    language::error::SpecErrors,
    model::{
        address::Address,
        change::{Change, Effects},
        digest::digest,
        schema::Problem,
        state::{Desired, State},
    },
    plan::{cause::Cause, observe::ObserveError},
};

/// The format of a plan document. A change of its shape raises the number.
pub const FORMAT: &str = "stead.plan/1";

/// A digest of what was read for each address.
pub type StateDigests = BTreeMap<Address, String>;

/// What would change, in apply order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: String,
    /// The name of the host node of the spec.
    pub host: String,
    /// Of how much of a spec it is.
    #[serde(default, skip_serializing_if = "Scope::is_whole")]
    pub scope: Scope,
    /// The changes, in apply order.
    pub changes: Vec<PlannedChange>,
    /// Attributes that are wanted but could not be seen, for instance without root.
    #[serde(rename = "unseen")]
    pub unobserved: Vec<Unobserved>,
    /// What there is to say about resources, whether they change or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
    /// Counts and costs.
    pub summary: Summary,
    /// What is wanted, as the spec says it, so that verifying an apply needs no spec.
    #[serde(rename = "wanted")]
    pub desired: Vec<DesiredResource>,
    /// A digest of what was read for each address (SHA-256 of its compared attributes, or `absent`), to tell a stale plan.
    #[serde(rename = "readings")]
    pub state_digests: StateDigests,
    /// SHA-256 of all of the above.
    pub fingerprint: String,
}

/// Of how much of a spec a plan is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of it: what it wants takes the place of what was wanted before.
    #[default]
    Whole,
    /// Some resources of it, beside what was wanted before.
    Part,
    /// What was wanted before and is so no more.
    Restore,
}

impl Scope {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's skip_serializing_if passes a reference"
    )]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// One change of a plan.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlannedChange {
    /// What changes.
    pub address: Address,
    /// How.
    #[serde(flatten)]
    pub change: Change<State>,
    /// Why.
    #[serde(rename = "because")]
    pub reason: Reason,
    /// Why it differs although a run had reached it; `None` where nobody looked or no run counts.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// At what cost.
    pub effects: Effects,
}

/// Why something is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "reason", rename_all = "lowercase")]
#[schemars(rename = "Because")]
pub enum Reason {
    /// A line of a spec.
    Spec {
        /// The file, as the user named it.
        file: Arc<Path>,
        /// The line, counted from 1.
        line: usize,
    },
    /// A resource of the spec brings it with it.
    Implied {
        /// Which.
        by: Arc<Address>,
        /// The file where that stands, as the user named it.
        file: Arc<Path>,
        /// The line, counted from 1.
        line: usize,
    },
    /// A run is undone.
    Undo {
        /// Its number.
        run: u64,
    },
}

/// Something wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Wanted")]
pub struct DesiredResource {
    /// Of which resource.
    pub address: Address,
    /// What.
    pub desired: Desired,
    /// What it needs first, directly. When that changes in a run, this is read again just before its own step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Address>,
    /// Why.
    #[serde(rename = "because")]
    pub reason: Reason,
}

/// An attribute that is wanted but could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Unseen")]
pub struct Unobserved {
    /// Of which resource.
    pub address: Address,
    /// Its name.
    pub attribute: String,
}

/// Something that a kind has to say about a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Remark {
    /// About which resource.
    pub address: Address,
    /// What.
    pub text: String,
}

/// Counts and costs of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Resources to create.
    pub create: usize,
    /// Resources to change.
    pub change: usize,
    /// Resources to remove.
    pub remove: usize,
    /// Services to restart, each counted once.
    pub restarts: usize,
    /// Bytes to download.
    pub download: u64,
    /// Resources that were read.
    pub resources: usize,
}

/// No plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The spec asks for something that this host cannot have.
    #[error(transparent)]
    Spec(#[from] SpecErrors),
    /// The same, found where there is no spec at hand: a saved plan, an undo, a verification.
    #[error("{}: {}", .0[0].0, .0[0].1)]
    Problems(Vec<(Address, Problem)>),
    /// The host could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl Plan {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Makes a plan of changes that are known already, such as those of an undo.
    pub fn new(
        host: String,
        desired: Vec<DesiredResource>,
        diff: Diff,
        state_digests: StateDigests,
    ) -> Self {
        let Diff {
            changes,
            unobserved,
            remarks,
        } = diff;
        let plan = Self {
            format: FORMAT.to_owned(),
            host,
            scope: Scope::Whole,
            summary: Summary::new(&changes, state_digests.len()),
            changes,
            unobserved,
            remarks,
            desired,
            state_digests,
            fingerprint: String::new(),
        };
        plan.with_fingerprint()
    }

    /// Says of how much of a spec it is.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        if self.scope == scope {
            return self;
        }
        self.scope = scope;
        self.with_fingerprint()
    }

    /// Takes its fingerprint anew.
    #[must_use]
    pub(crate) fn with_fingerprint(mut self) -> Self {
        self.fingerprint = String::new();
        self.fingerprint = digest(&self);
        self
    }

    /// Returns the first of its changes that cannot be undone: none comes back from there on as it was.
    pub fn point_of_no_return(&self) -> Option<usize> {
        self.changes
            .iter()
            .position(|planned| planned.effects.irreversible.is_some())
    }

    /// Whether the document is what was saved: its format is known and its fingerprint fits.
    pub fn has_valid_fingerprint(&self) -> bool {
        let mut copy = self.clone();
        copy.fingerprint = String::new();
        self.format == FORMAT && digest(&copy) == self.fingerprint
    }
}

impl Summary {
    fn new(changes: &[PlannedChange], resources: usize) -> Self {
        let count = |wanted: fn(&Change<State>) -> bool| {
            changes
                .iter()
                .filter(|planned| wanted(&planned.change))
                .count()
        };
        let restarts: BTreeSet<_> = changes
            .iter()
            .flat_map(|planned| &planned.effects.restarts)
            .collect();
        Self {
            create: count(|change| matches!(change, Change::Create { .. })),
            change: count(|change| matches!(change, Change::Update { .. })),
            remove: count(|change| matches!(change, Change::Delete { .. })),
            restarts: restarts.len(),
            download: changes.iter().map(|planned| planned.effects.download).sum(),
            resources,
        }
    }
}

/// What a comparison of the wanted with the observed found.
#[derive(Debug, Default)]
pub struct Diff {
    /// The changes, in the order of what is wanted.
    pub changes: Vec<PlannedChange>,
    /// Attributes about which nothing can be said.
    pub unobserved: Vec<Unobserved>,
    /// What the kinds have to say.
    pub remarks: Vec<Remark>,
}
