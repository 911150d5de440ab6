//! State of the kind `kube-args`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// State of the arguments of a part of MicroK8s.
///
/// ```kdl
/// kube-args "kube-proxy" {
///     proxy-mode "iptables"
///     metrics-bind-address #null
/// }
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// Flags without their dashes; no value is a bare flag, `None` one that is not set.
    pub(crate) flags: BTreeMap<String, Option<Vec<String>>>,
    /// The whole file, so that rollback is exact.
    pub(crate) text: Option<String>,
}
