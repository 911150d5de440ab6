//! Why a resource differs again that a run had reached.

use serde::{Deserialize, Serialize};

use crate::model::{address::Address, drift::Evidence};

/// Why something differs that a run had reached. A wrong one would be worse than none, so that all but the last rest on evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "class", rename_all = "kebab-case")]
pub enum Cause {
    /// The spec asks for something else than the last run that counts.
    Spec {
        /// That run.
        run: u64,
        /// Whether that run asked for nothing of the kind.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_new: bool,
    },
    /// It is due because of another change of the plan.
    #[serde(rename = "follows")]
    DependencyChanged {
        /// What changes.
        address: Address,
    },
    /// The host was started anew since, and that has lost it.
    Reboot {
        /// The last run that reached it.
        run: u64,
    },
    /// A known program has changed it.
    Actor {
        /// The last run that reached it.
        run: u64,
        /// Who.
        actor: String,
        /// By what that is known.
        evidence: String,
    },
    /// A person has changed it.
    #[serde(rename = "hand")]
    Manual {
        /// The last run that reached it.
        run: u64,
        /// The name of the account.
        person: String,
        /// By what that is known.
        evidence: String,
    },
    /// Somebody has changed it; it is known when.
    #[serde(rename = "changed")]
    Modified {
        /// The last run that reached it.
        run: u64,
        /// What shows when.
        evidence: String,
    },
    /// Nobody knows.
    Unknown {
        /// The last run that reached it.
        run: u64,
    },
}

impl Cause {
    pub(crate) fn from_evidence(run: u64, evidence: Option<Evidence>) -> Self {
        match evidence {
            None => Self::Unknown { run },
            Some(Evidence::Reboot) => Self::Reboot { run },
            Some(Evidence::Actor { name, fact }) => Self::Actor {
                run,
                actor: name,
                evidence: fact,
            },
            Some(Evidence::Person { name, fact }) => Self::Manual {
                run,
                person: name,
                evidence: fact,
            },
            Some(Evidence::Modified { fact }) => Self::Modified {
                run,
                evidence: fact,
            },
        }
    }
}
