//! What a kind lists for import: what is worth importing, and what became of everything else.

use std::collections::{BTreeMap, BTreeSet};

/// What there is of a kind: the names that import writes down, and what it passes over, with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// One comment line above what is written: what these resources are.
    pub heading: String,
    /// Names that are worth writing down.
    pub managed: BTreeSet<String>,
    /// Names that are not there, and that this is worth writing down of.
    pub absent: BTreeSet<String>,
    /// How many are as a bare host has them.
    pub default: usize,
    /// How many were made by a known program, by its name.
    pub foreign: BTreeMap<String, usize>,
    /// Names that are passed over, by the rule that says so.
    pub ignored: BTreeMap<String, BTreeSet<String>>,
    /// Names that hold secrets.
    pub secrets: BTreeSet<String>,
    /// Names that could not be seen, with the reason.
    pub unreadable: BTreeMap<String, String>,
    /// Why import never writes this kind, if so.
    pub not_importable: Option<&'static str>,
}

impl Listing {
    /// Makes a listing of what is worth writing down.
    pub fn new(heading: impl Into<String>, managed: impl IntoIterator<Item = String>) -> Self {
        Self {
            heading: heading.into(),
            managed: managed.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Makes the listing of a kind that import never writes.
    pub fn not_importable(why: &'static str) -> Self {
        Self {
            not_importable: Some(why),
            ..Self::default()
        }
    }

    /// Counts something that a known program made.
    pub fn add_foreign(&mut self, whose: impl Into<String>) {
        *self.foreign.entry(whose.into()).or_default() += 1;
    }

    /// Passes a name over by a rule.
    pub fn ignore(&mut self, rule: impl Into<String>, name: impl Into<String>) {
        self.ignored
            .entry(rule.into())
            .or_default()
            .insert(name.into());
    }
}

/// What import makes of one resource once it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export<S> {
    /// It is written down.
    Write(ExportedState<S>),
    /// It is as a bare host has it.
    Default,
    /// It is passed over, by this rule.
    Ignored(String),
    /// It holds a secret.
    Secret,
    /// It could not be seen or said; why.
    Unreadable(String),
}

/// What is written of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedState<S> {
    /// The attributes to write: of all that are set, those that users may write. An attribute that is the path of a file names one of
    /// this host; a copy of it goes beside the spec.
    pub state: S,
    /// What a reader should know, each in a comment line above it.
    pub notes: Vec<String>,
    /// Whom it concerns.
    pub target: ExportTarget,
}

/// Whom a resource concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportTarget {
    /// Every host that shall be like this one.
    Shared,
    /// This machine alone: its name, its addresses, its disks, what ends with the next reboot.
    Machine,
}

impl<S> Export<S> {
    /// Writes a resource down as it is.
    pub fn as_is(state: S) -> Self {
        Self::Write(ExportedState {
            state,
            notes: vec![],
            target: ExportTarget::Shared,
        })
    }

    /// Writes down what will not be so after a reboot, with a note that says what will.
    pub fn drift(state: S, note: impl AsRef<str>) -> Self {
        Self::Write(ExportedState {
            state,
            notes: vec![format!("drift: {}", note.as_ref())],
            target: ExportTarget::Machine,
        })
    }

    /// Converts the state.
    pub fn map<T>(self, convert: impl FnOnce(S) -> T) -> Export<T> {
        match self {
            Self::Write(ExportedState {
                state,
                notes,
                target,
            }) => Export::Write(ExportedState {
                state: convert(state),
                notes,
                target,
            }),
            Self::Default => Export::Default,
            Self::Ignored(rule) => Export::Ignored(rule),
            Self::Secret => Export::Secret,
            Self::Unreadable(why) => Export::Unreadable(why),
        }
    }
}
