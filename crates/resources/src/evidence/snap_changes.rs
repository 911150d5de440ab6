//! Changes of snaps, as far as snapd remembers them: for a day.

use jiff::Timestamp;
use serde_json::Value;
use stead_engine::model::drift::Evidence;

use crate::{evidence::times::format_time, host::Reader, snapd::client};

/// Kinds of changes that move a snap to another revision, and what people call that.
pub(crate) const REVISION_CHANGES: [(&str, &str); 5] = [
    ("auto-refresh", "an automatic refresh of the snap"),
    ("refresh-snap", "a refresh of the snap"),
    ("revert-snap", "a revert of the snap"),
    ("install-snap", "an installation of the snap"),
    ("try-snap", "an installation of the snap"),
];

/// A change of snapd that has ended well.
pub(crate) struct SnapChange {
    id: String,
    pub(crate) kind: String,
    pub(crate) ready: Timestamp,
}

/// Returns what moved a snap to another revision after a time, if snapd remembers that.
pub(crate) async fn revision_change(
    host: &Reader,
    name: &str,
    since: Timestamp,
) -> Option<Evidence> {
    let changes = changes_since(host, name, since).await?;
    let moves = |change: &&SnapChange| {
        REVISION_CHANGES
            .iter()
            .any(|(kind, _)| *kind == change.kind)
    };
    let newest = changes
        .iter()
        .filter(moves)
        .max_by_key(|change| change.ready)?;
    Some(actor_evidence(newest))
}

/// Names the program or the action that made a change.
pub(crate) fn actor_evidence(change: &SnapChange) -> Evidence {
    let known = REVISION_CHANGES
        .iter()
        .find(|(kind, _)| *kind == change.kind);
    Evidence::Actor {
        name: known.map_or("snapd", |(_, name)| name).to_owned(),
        fact: format!(
            "change {} of snapd, {}",
            change.id,
            format_time(change.ready)
        ),
    }
}

/// Says what a change did.
pub(crate) fn trace_evidence(change: &SnapChange, what: &str) -> Evidence {
    let SnapChange { id, ready, .. } = change;
    Evidence::Modified {
        fact: format!("change {id} of snapd {what} {}", format_time(*ready)),
    }
}

/// Reads the changes of a snap that have ended well after a time; `None` if snapd does not answer.
pub(crate) async fn changes_since(
    host: &Reader,
    name: &str,
    since: Timestamp,
) -> Option<Vec<SnapChange>> {
    let path = format!("/v2/changes?select=all&for={name}");
    let changes = client::get(host, &path).await.ok()?;
    Some(parse_changes(&changes, since))
}

/// Reads those that ended well after a time.
fn parse_changes(changes: &Value, since: Timestamp) -> Vec<SnapChange> {
    let changes = changes.as_array().into_iter().flatten();
    let ended = changes.filter_map(|change| {
        let text = |field: &str| change[field].as_str();
        let ready: Timestamp = text("ready-time")?.parse().ok()?;
        let is_done = text("status") == Some("Done") && ready > since;
        is_done.then_some(SnapChange {
            id: text("id")?.to_owned(),
            kind: text("kind")?.to_owned(),
            ready,
        })
    });
    ended.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ended_returns_only_later_successful_changes() {
        let change = |id: &str, status: &str, second: u8| {
            json!({
                "id": id, "kind": "refresh-snap", "status": status,
                "ready-time": format!("2026-11-25T12:00:{second:02}.5+01:00"),
            })
        };
        let changes = json!([
            change("1", "Done", 10),
            change("2", "Error", 30),
            change("3", "Done", 30),
            {"id": "4", "kind": "refresh-snap", "status": "Doing"},
        ]);
        let since = "2026-11-25T11:00:20Z".parse().unwrap();
        let [moved] = &parse_changes(&changes, since)[..] else {
            panic!("one change")
        };
        let Evidence::Actor { name, fact } = actor_evidence(moved) else {
            panic!("an actor")
        };
        assert_eq!(name, "a refresh of the snap");
        assert_eq!(fact, "change 3 of snapd, 2026-11-25 11:00:30 UTC");
    }
}
