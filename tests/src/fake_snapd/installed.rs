//! Snaps that are installed, and the revisions that the store offers and a host keeps.

use serde_json::{Value, json};

use super::change::TIMESTAMP;

/// A revision of a snap that the store offers in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name of the snap.
    pub name: String,
    /// `track/risk`.
    pub channel: String,
    /// As snapd writes it: `7`, or `x1` for one that came as a file.
    pub revision: String,
    /// The version that the snap says it is.
    pub version: String,
    /// Size of the download in bytes.
    pub bytes: u64,
    /// Whether the snap wants classic confinement.
    pub classic: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Installed {
    /// The revisions that are kept, in the order in which they came. The last before the current one is reverted to.
    pub(super) revisions: Vec<Offer>,
    pub(super) current: usize,
    pub(super) tracking: String,
    pub(super) enabled: bool,
    pub(super) running: bool,
    pub(super) hold: Option<String>,
}

impl Offer {
    /// Offers a `MicroK8s` as large as the real one.
    pub fn microk8s(channel: &str, revision: &str) -> Self {
        Self {
            name: "microk8s".to_owned(),
            channel: channel.to_owned(),
            revision: revision.to_owned(),
            version: format!("v{channel}"),
            bytes: 170_000_000,
            classic: true,
        }
    }

    pub(super) fn confinement(&self) -> &'static str {
        if self.classic { "classic" } else { "strict" }
    }
}

impl Installed {
    pub(super) fn current_revision(&self) -> &Offer {
        &self.revisions[self.current]
    }

    pub(super) fn to_json(&self, at: usize) -> Value {
        let kept = &self.revisions[at];
        let active = at == self.current && self.enabled;
        let mut shown = json!({
            "name": kept.name, "version": kept.version, "revision": kept.revision, "channel": kept.channel, "type": "app",
            "confinement": kept.confinement(), "status": if active { "active" } else { "installed" }, "devmode": false,
            "jailmode": false, "installed-size": kept.bytes, "install-date": TIMESTAMP,
        });
        if !self.tracking.is_empty() {
            shown["tracking-channel"] = self.tracking.as_str().into();
        }
        if let Some(hold) = &self.hold {
            shown["hold"] = hold.as_str().into();
        }
        shown
    }
}
