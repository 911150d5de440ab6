//! Changes of snaps, as far as snapd remembers them: for a day.

use jiff::Timestamp;
use serde_json::Value;
use stead_engine::model::drift::Evidence;

use crate::{evidence::times::when, host::Reader, snapd::client};

/// Kinds of changes that move a snap to another revision, and what people call that.
pub(crate) const MOVES: [(&str, &str); 5] = [
    ("auto-refresh", "an automatic refresh of the snap"),
    ("refresh-snap", "a refresh of the snap"),
    ("revert-snap", "a revert of the snap"),
    ("install-snap", "an installation of the snap"),
    ("try-snap", "an installation of the snap"),
];

/// A change of snapd that has ended well.
pub(crate) struct Moved {
    id: String,
    pub(crate) kind: String,
    pub(crate) ready: Timestamp,
}

/// Returns what moved a snap to another revision after a time, if snapd remembers that.
pub(crate) async fn another_revision(
    host: &Reader,
    name: &str,
    since: Timestamp,
) -> Option<Evidence> {
    let changes = changes(host, name, since).await?;
    let moves = |change: &&Moved| MOVES.iter().any(|(kind, _)| *kind == change.kind);
    let newest = changes
        .iter()
        .filter(moves)
        .max_by_key(|change| change.ready)?;
    Some(actor(newest))
}

/// Names the program or the action that made a change.
pub(crate) fn actor(change: &Moved) -> Evidence {
    let known = MOVES.iter().find(|(kind, _)| *kind == change.kind);
    Evidence::Actor {
        name: known.map_or("snapd", |(_, name)| name).to_owned(),
        fact: format!("change {} of snapd, {}", change.id, when(change.ready)),
    }
}

/// Says what a change did.
pub(crate) fn trace(change: &Moved, what: &str) -> Evidence {
    let Moved { id, ready, .. } = change;
    Evidence::Trace {
        fact: format!("change {id} of snapd {what} {}", when(*ready)),
    }
}

/// Reads the changes of a snap that have ended well after a time; `None` if snapd does not answer.
pub(crate) async fn changes(host: &Reader, name: &str, since: Timestamp) -> Option<Vec<Moved>> {
    let path = format!("/v2/changes?select=all&for={name}");
    let changes = client::get(host, &path).await.ok()?;
    Some(ended(&changes, since))
}

/// Reads those that ended well after a time.
fn ended(changes: &Value, since: Timestamp) -> Vec<Moved> {
    let changes = changes.as_array().into_iter().flatten();
    let ended = changes.filter_map(|change| {
        let text = |field: &str| change[field].as_str();
        let ready: Timestamp = text("ready-time")?.parse().ok()?;
        let is_done = text("status") == Some("Done") && ready > since;
        is_done.then_some(Moved {
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
    fn only_what_ended_well_and_later_has_moved_anything() {
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
        let [moved] = &ended(&changes, since)[..] else {
            panic!("one change")
        };
        let Evidence::Actor { name, fact } = actor(moved) else {
            panic!("an actor")
        };
        assert_eq!(name, "a refresh of the snap");
        assert_eq!(fact, "change 3 of snapd, 2026-11-25 11:00:30 UTC");
    }
}
