//! State of the kind `sysctl`.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::values::setting::Setting;

/// State of a sysctl.
///
/// ```kdl
/// sysctl "net.ipv4.ip_forward" "1"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) value: Option<String>,
    #[serde(default)]
    pub(crate) persist: Option<bool>,
    #[serde(default)]
    pub(crate) running: Option<String>,
    #[serde(default)]
    pub(crate) boot: Option<Setting>,
    #[serde(default)]
    pub(crate) remarks: Option<Vec<String>>,
}
