//! What moved a snap: snapd remembers its changes for a day, and when a revision became the current one.

use jiff::Timestamp;
use serde_json::Value;
use stead_engine::model::drift::{Drift, Evidence};

use crate::{evidence::times::when, host::Reader, kinds::snap::state::State, snapd::client};

/// Kinds of changes that move a snap to another revision, and what people call that.
const MOVES: [(&str, &str); 5] = [
    ("auto-refresh", "an automatic refresh of the snap"),
    ("refresh-snap", "a refresh of the snap"),
    ("revert-snap", "a revert of the snap"),
    ("install-snap", "an installation of the snap"),
    ("try-snap", "an installation of the snap"),
];

/// A change of snapd that has ended well.
struct Moved {
    id: String,
    kind: String,
    ready: Timestamp,
}

/// Looks for what moved a snap.
pub(crate) async fn culprit(host: &Reader, name: &str, drift: &Drift<State>) -> Option<Evidence> {
    let changes = changes(host, name, drift.touched).await?;
    let newest = |kinds: &[&str]| {
        let of_kind = |change: &&Moved| kinds.contains(&change.kind.as_str());
        changes
            .iter()
            .filter(of_kind)
            .max_by_key(|change| change.ready)
    };
    let Some(now) = drift.change.before() else {
        return newest(&["remove-snap"]).map(|change| trace(change, "removed it"));
    };
    // Where the run did not change it, at least what is asked for is known.
    let left = drift.left.as_ref().or(drift.change.after())?;
    let kinds: Vec<&str> = MOVES.iter().map(|(kind, _)| *kind).collect();
    if now.revision != left.revision {
        return match newest(&kinds) {
            Some(change) => Some(actor(change)),
            None => installed(host, name, drift.touched).await,
        };
    }
    if now.enabled != left.enabled {
        let kinds = ["disable-snap", "enable-snap"];
        return newest(&kinds).map(|change| trace(change, "switched it on or off"));
    }
    if now.channel != left.channel {
        let change = newest(&["switch-snap", "refresh-snap"])?;
        return Some(trace(change, "moved it to another channel"));
    }
    None
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

fn actor(change: &Moved) -> Evidence {
    let known = MOVES.iter().find(|(kind, _)| *kind == change.kind);
    Evidence::Actor {
        name: known.map_or("snapd", |(_, name)| name).to_owned(),
        fact: format!("change {} of snapd, {}", change.id, when(change.ready)),
    }
}

fn trace(change: &Moved, what: &str) -> Evidence {
    let Moved { id, ready, .. } = change;
    Evidence::Trace {
        fact: format!("change {id} of snapd {what} {}", when(*ready)),
    }
}

/// snapd has forgotten the change, but not when it made the revision the current one: `snap.InstallDate`.
async fn installed(host: &Reader, name: &str, since: Timestamp) -> Option<Evidence> {
    let snap = client::get(host, &format!("/v2/snaps/{name}")).await.ok()?;
    let at: Timestamp = snap["install-date"].as_str()?.parse().ok()?;
    let revision = snap["revision"].as_str()?;
    (at > since).then(|| Evidence::Trace {
        fact: format!("revision {revision} became the current one {}", when(at)),
    })
}

async fn changes(host: &Reader, name: &str, since: Timestamp) -> Option<Vec<Moved>> {
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
