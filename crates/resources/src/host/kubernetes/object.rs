//! An object of the cluster, and its permanent identity.

use std::collections::BTreeMap;

use kube::api::ApiResource;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An object of the cluster, without its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterObject {
    /// Which it is.
    pub identity: ObjectIdentity,
    /// Whether another object owns it, and it goes with that.
    pub is_owned: bool,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The program that made it, as the API server notes it.
    pub created_by: Option<String>,
    /// The manifest that `kubectl apply` made it from, in JSON; never that of a secret.
    pub last_applied: Option<String>,
}

/// Which object of the cluster it is, for good: another one of the same name has another number.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectIdentity {
    /// Its group, empty for the core.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// Its kind: `Deployment`.
    pub kind: String,
    /// Its kind in a URL: `deployments`.
    pub plural: String,
    /// Its namespace, if it is in one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: String,
}

impl std::fmt::Display for ObjectIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.iter();
        let words: Vec<_> = namespace.chain([&self.name]).map(String::as_str).collect();
        write!(f, "{} {}", self.kind, words.join("/"))
    }
}

impl ObjectIdentity {
    pub(super) fn api_resource(&self) -> ApiResource {
        let is_core = self.group.is_empty();
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: if is_core {
                self.version.clone()
            } else {
                format!("{}/{}", self.group, self.version)
            },
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}
