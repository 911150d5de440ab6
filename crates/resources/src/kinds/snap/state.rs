//! State of the kind `snap`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What `hold` says where snapd can only hold all snaps, and not for ever.
pub(crate) const LONGEST: &str = "all snaps, as long as this snapd can";
/// What `channel` says of a snap that follows none.
pub(crate) const NO_CHANNEL: &str = "none";

/// State of a snap.
///
/// ```kdl
/// snap "microk8s" channel="1.32/stable" classic=#true hold="forever"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) classic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) devmode: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dangerous: Option<bool>,
    /// SHA-256 of an installed file without assertions; `store` for all other snaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) contents: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) download: Option<u64>,
}
