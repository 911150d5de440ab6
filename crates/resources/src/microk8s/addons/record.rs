//! The record of an addon that stead has enabled: its arguments, and the objects that were created. It is stored in
//! the cluster and not on the host, so that a reset of the cluster removes both.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::host::{HostError, ObjectIdentity, Reader, Writer};

/// Where it stands.
const NAMESPACE: &str = "kube-system";
/// The name of the `ConfigMap`.
pub(crate) const CONFIG_MAP: &str = "stead-addons";
/// Its key.
const KEY: &str = "addons.json";

/// The addons that stead enabled, by `repository/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AddonRecords(pub(crate) BTreeMap<String, AddonRecord>);

/// What is noted of an addon.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddonRecord {
    /// What it was enabled with.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// What came of it.
    #[serde(default)]
    pub(crate) objects: Vec<ObjectIdentity>,
    /// As long as it is being enabled: what there was already.
    #[serde(default)]
    #[serde(rename = "begun")]
    pub(crate) partial: Option<PartialEnable>,
}

/// What there was before an addon was enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialEnable {
    /// The numbers of all objects without an owner.
    pub(crate) objects: BTreeSet<String>,
    /// The files of arguments: scripts of addons edit them.
    pub(crate) arguments: BTreeMap<String, String>,
}

impl AddonRecords {
    /// Reads the note.
    pub(crate) async fn read(host: &Reader, kubeconfig: &str) -> Result<Self, HostError> {
        let map = host.config_map(kubeconfig, NAMESPACE, CONFIG_MAP).await?;
        let Some(text) = map.and_then(|mut map| map.remove(KEY)) else {
            return Ok(Self::default());
        };
        serde_json::from_str(&text).map_err(|error| HostError::Service {
            service: format!("the ConfigMap {NAMESPACE}/{CONFIG_MAP}"),
            fault: error.to_string(),
        })
    }

    /// Writes the note; one that says nothing goes.
    pub(crate) async fn write(&self, host: &Writer, kubeconfig: &str) -> Result<(), HostError> {
        if self.0.is_empty() {
            return host
                .remove_config_map(kubeconfig, NAMESPACE, CONFIG_MAP)
                .await;
        }
        let text = serde_json::to_string(self).expect("a note has string keys");
        let data = BTreeMap::from([(KEY.to_owned(), text)]);
        host.apply_config_map(kubeconfig, NAMESPACE, CONFIG_MAP, &data)
            .await
    }
}
