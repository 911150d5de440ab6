//! State of the kind `snap`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

/// What `hold` says where snapd can only hold all snaps, and not for ever.
pub(crate) const MAX_HOLD: &str = "all snaps, as long as this snapd can";
/// What `channel` says of a snap that follows none.
pub(crate) const NO_CHANNEL: &str = "none";

/// State of a snap.
///
/// ```kdl
/// snap "microk8s" channel="1.32/stable" classic=#true hold="forever"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) channel: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) classic: Option<bool>,
    pub(crate) devmode: Option<bool>,
    pub(crate) hold: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) config: Option<Map<String, Value>>,
    pub(crate) file: Option<String>,
    pub(crate) dangerous: Option<bool>,
    /// SHA-256 of an installed file without assertions; `store` for all other snaps.
    pub(crate) contents: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) kept: Option<Vec<String>>,
    pub(crate) held_until: Option<String>,
    pub(crate) download: Option<u64>,
}
