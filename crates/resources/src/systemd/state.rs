//! The state of a unit.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    host::FileAttributes,
    systemd::{
        files::{DropIns, UnitFile},
        inputs::digest_files,
        links::enables,
    },
};

/// The word that users write.
pub(crate) const KIND: &str = "unit";

/// State of a unit.
///
/// ```kdl
/// unit "docker.service" enabled=#true running=#true {
///     drop-ins {
///         "50-memory" "[Service]\nMemoryMax=1G\n"
///     }
/// }
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnitState {
    pub(crate) content: Option<UnitFile>,
    pub(crate) source: Option<PathBuf>,
    #[serde(rename = "drop-ins")]
    pub(crate) drop_ins: Option<DropIns>,
    pub(crate) enabled: Option<bool>,
    pub(crate) running: Option<bool>,
    pub(crate) masked: Option<bool>,
    pub(crate) stale: Option<bool>,
    pub(crate) links: Option<BTreeMap<String, String>>,
    pub(crate) access: Option<BTreeMap<String, FileAttributes>>,
    /// Those of a template that run.
    pub(crate) instances: Option<BTreeSet<String>>,
    /// Only what was read has it.
    pub(crate) active: Option<String>,
}

impl UnitState {
    /// What is left of a unit that shall not exist.
    pub(crate) fn absent() -> Self {
        Self {
            content: Some(UnitFile::ABSENT),
            drop_ins: Some(DropIns::new()),
            enabled: Some(false),
            running: Some(false),
            masked: Some(false),
            ..Self::default()
        }
    }

    /// Digests what its own files give to its process.
    pub(crate) fn inputs_digest(&self) -> String {
        let drop_ins = self.drop_ins.iter().flat_map(BTreeMap::values).flatten();
        digest_files(self.content.iter().chain(drop_ins))
    }

    /// Names the units whose processes its files are for: itself, and the instances of a template.
    pub(crate) fn processes(&self, name: &str) -> BTreeSet<String> {
        let mut names = self.instances.clone().unwrap_or_default();
        if self.running == Some(true) {
            names.insert(name.to_owned());
        }
        names
    }

    /// Returns a drop-in that is wanted.
    pub(crate) fn drop_in(&self, name: &str) -> &UnitFile {
        let found = self
            .drop_ins
            .as_ref()
            .and_then(|all| all.get(name)?.as_ref());
        found.unwrap_or(&UnitFile::ABSENT)
    }

    /// Whether the recorded links are those that make it enabled or not, as it is wanted. `name` is how it is enabled.
    pub(crate) fn has_recorded_links(&self, name: Option<&str>) -> bool {
        let is_enabled = |links: &BTreeMap<String, String>| {
            let mut links = links.iter();
            name.is_some_and(|name| links.any(|(path, target)| enables(name, path, target)))
        };
        let links = self.links.as_ref();
        links.is_some_and(|links| Some(is_enabled(links)) == self.enabled)
    }
}
