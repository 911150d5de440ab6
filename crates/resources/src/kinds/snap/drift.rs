//! Evidence for changes of a snap: snapd remembers its changes for a day, and when a revision became the current one.

use jiff::Timestamp;
use stead_engine::model::drift::{Drift, Evidence};

use crate::{
    evidence::{
        snap_changes::{
            REVISION_CHANGES, SnapChange, actor_evidence, changes_since, trace_evidence,
        },
        times::format_time,
    },
    host::Reader,
    kinds::snap::state::State,
    snapd::client,
};

/// Looks for what moved a snap.
pub(crate) async fn attribute_drift(
    host: &Reader,
    name: &str,
    drift: &Drift<State>,
) -> Option<Evidence> {
    let changes = changes_since(host, name, drift.modified_at).await?;
    let newest = |kinds: &[&str]| {
        let of_kind = |change: &&SnapChange| kinds.contains(&change.kind.as_str());
        changes
            .iter()
            .filter(of_kind)
            .max_by_key(|change| change.ready)
    };
    let Some(now) = drift.change.before() else {
        return newest(&["remove-snap"]).map(|change| trace_evidence(change, "removed it"));
    };
    // Where the run did not change it, at least what is asked for is known.
    let left = drift.after_run.as_ref().or(drift.change.after())?;
    let kinds: Vec<&str> = REVISION_CHANGES.iter().map(|(kind, _)| *kind).collect();
    if now.revision != left.revision {
        return match newest(&kinds) {
            Some(change) => Some(actor_evidence(change)),
            None => revision_installed(host, name, drift.modified_at).await,
        };
    }
    if now.enabled != left.enabled {
        let kinds = ["disable-snap", "enable-snap"];
        return newest(&kinds).map(|change| trace_evidence(change, "enabled or disabled it"));
    }
    if now.channel != left.channel {
        let change = newest(&["switch-snap", "refresh-snap"])?;
        return Some(trace_evidence(change, "switched it to another channel"));
    }
    None
}

/// snapd has forgotten the change, but not when it made the revision the current one: `snap.InstallDate`.
async fn revision_installed(host: &Reader, name: &str, since: Timestamp) -> Option<Evidence> {
    let snap = client::get(host, &format!("/v2/snaps/{name}")).await.ok()?;
    let at: Timestamp = snap["install-date"].as_str()?.parse().ok()?;
    let revision = snap["revision"].as_str()?;
    (at > since).then(|| Evidence::Modified {
        fact: format!(
            "revision {revision} became the current one {}",
            format_time(at)
        ),
    })
}
