//! The options of an import, and its errors.

use std::path::{Path, PathBuf};

use crate::{
    import::ignore::{Ignores, Pattern},
    language::error::SpecErrors,
    model::{
        schema::{Attribute, Schema, Shape},
        state::State,
    },
    plan::{document::Plan, graph::Graph, observe::ObserveError},
};

/// What is to be imported, and how it is written.
#[derive(Debug)]
pub struct ImportOptions<'a> {
    /// The name of the host node.
    pub host: &'a str,
    /// Where the spec will be, so that mistakes can name it.
    pub path: &'a Path,
    /// The directory beside the spec for the bytes of files; `None` where there is no place for it.
    pub files_dir: Option<&'a str>,
    /// Whether what concerns this machine alone is a spec of its own.
    pub machine_specific: MachineSpecific,
    /// Nothing but these, if any are named.
    pub only: &'a [Pattern],
    /// All but these.
    pub except: &'a [Pattern],
    /// What the user passes over, with reasons.
    pub ignores: &'a Ignores,
    /// What is said already and need not be said again.
    pub existing: Option<&'a Graph>,
}

/// Whether what concerns this machine alone stands in a spec of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineSpecific {
    /// It does.
    Separate,
    /// It stands with the rest.
    Inline,
}

/// A file of this host whose bytes go beside the spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopiedSource {
    /// Where it is on this host.
    pub from: PathBuf,
    /// Where it goes, relative to the spec.
    pub to: PathBuf,
}

/// A host could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The plan of what was to be written is not empty.
    #[error("the imported spec would change this host")]
    NotEmpty(Box<Plan>),
    /// What was to be written is no spec: a mistake of stead.
    #[error("the imported spec is not valid")]
    Spec(#[from] SpecErrors),
    /// The host could not be read again.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl ImportOptions<'_> {
    pub(crate) fn includes_kind(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| pattern.kind() == kind)
    }

    /// Returns the rule by which a name is passed over, if it is.
    pub(crate) fn ignore_reason(&self, kind: &str, name: &str) -> Option<String> {
        let is_meant = |patterns: &[Pattern]| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| pattern.matches(kind, name))
        };
        if let Some(reason) = self.ignores.reason(kind, name) {
            return Some(reason.to_owned());
        }
        if is_meant(self.except) {
            return Some("`--except`".to_owned());
        }
        (!self.only.is_empty() && !is_meant(self.only)).then(|| "`--only`".to_owned())
    }
}

/// Returns the attributes that are paths of files of this host.
pub(crate) fn path_attributes<'a>(
    schema: &Schema,
    state: &'a State,
) -> impl Iterator<Item = (&'static Attribute, &'a str)> {
    let attributes = schema.attributes.iter();
    let paths = attributes.filter(|attribute| attribute.shape == Shape::Path);
    paths.filter_map(|attribute| Some((attribute, state.get(attribute.name)?.as_str()?)))
}
