//! State of the kind `sysctl`.

use serde::{Deserialize, Serialize};

use crate::values::setting::Setting;

/// State of a sysctl.
///
/// ```kdl
/// sysctl "net.ipv4.ip_forward" "1"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) persist: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<Setting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remarks: Option<Vec<String>>,
}
