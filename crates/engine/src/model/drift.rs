//! A difference on a host that had converged, as kinds see it, and their evidence for it.

use jiff::Timestamp;

use crate::model::change::Change;

/// A difference from what a run had reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift<S> {
    /// When that run ended.
    pub since: Timestamp,
    /// When a run last had it in hand. What has changed no later than that may be the work of a run that was rolled back.
    pub modified_at: Timestamp,
    /// Whether the host was started anew since; `None` if that is not known.
    pub rebooted: Option<bool>,
    /// What the run left, where that is known.
    pub after_run: Option<S>,
    /// What was there before any run that is still known changed it.
    pub original: Option<S>,
    /// From what is there now to what the run had reached.
    pub change: Change<S>,
}

/// What is known of who or what moved a resource. Whoever guesses says nothing instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A start of the host has lost it: it lives in the kernel, and what is there now is what a start leaves.
    Reboot,
    /// A program did it.
    Actor {
        /// Which, as the subject of a sentence.
        name: String,
        /// By what that is known.
        fact: String,
    },
    /// A person did it.
    Person {
        /// The name of the account.
        name: String,
        /// By what that is known.
        fact: String,
    },
    /// It is known when, and not by whom.
    Modified {
        /// What has changed, and when.
        fact: String,
    },
}

impl<S> Drift<S> {
    /// Converts all states, stopping at the first that cannot be converted.
    pub fn try_map<T, E>(self, mut convert: impl FnMut(S) -> Result<T, E>) -> Result<Drift<T>, E> {
        let Self {
            since,
            modified_at,
            rebooted,
            after_run,
            original,
            change,
        } = self;
        Ok(Drift {
            since,
            modified_at,
            rebooted,
            after_run: after_run.map(&mut convert).transpose()?,
            original: original.map(&mut convert).transpose()?,
            change: change.try_map(convert)?,
        })
    }
}
