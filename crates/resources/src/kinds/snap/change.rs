//! Changes of snaps, executed by snapd.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stead_engine::model::digest::digest;

use crate::{
    host::{Reader, Writer},
    kinds::snap::{
        file,
        state::{MAX_HOLD, NO_CHANNEL, State},
        store::canonical_channel,
    },
    snapd::{
        client::{self, SnapdError},
        hold::{NOT_HELD, is_held},
    },
};

/// Returns what a spec says of a snap: what every new one has is left out.
pub(crate) fn to_spec(name: &str, state: State) -> State {
    let is_bare = is_sideloaded(&state);
    let revision = state.revision.as_deref().unwrap_or_default();
    let file = is_bare.then(|| file::stored_path(name, revision).display().to_string());
    let hold = state.hold.filter(|hold| hold != NOT_HELD);
    State {
        channel: state
            .channel
            .filter(|channel| channel != NO_CHANNEL && !is_bare),
        classic: state.classic.filter(|classic| *classic),
        devmode: state.devmode.filter(|devmode| *devmode),
        // What an old snapd makes of it is its own affair.
        hold: hold.map(|hold| {
            if hold == MAX_HOLD {
                "forever".to_owned()
            } else {
                hold
            }
        }),
        enabled: state.enabled.filter(|enabled| !enabled),
        file,
        dangerous: is_bare.then_some(true),
        ..State::default()
    }
}

/// Whether a snap was installed from a file without assertions.
pub(crate) fn is_sideloaded(state: &State) -> bool {
    let revision = state.revision.as_deref().unwrap_or_default();
    revision.starts_with('x')
}

/// snapd refreshes after this many days at the latest: `overlord/snapstate/autorefresh.go`, maxPostponement.
const MAX_HOLD_DAYS: i64 = 95;

/// Installs a snap; where the state was recorded, with its data as they were.
pub(crate) async fn install(host: &Writer, name: &str, after: &State) -> Result<(), SnapdError> {
    if let Some(file) = &after.file {
        return file::install(
            host,
            name,
            Path::new(file),
            after.dangerous,
            after.classic,
            after.devmode,
        )
        .await;
    }
    if is_sideloaded(after) {
        let fault = "the file that it was installed from is not saved".to_owned();
        return Err(SnapdError::Failed(fault));
    }
    let mut body = json!({});
    for (field, flag) in [("classic", after.classic), ("devmode", after.devmode)] {
        if flag == Some(true) {
            body[field] = true.into();
        }
    }
    for (field, text) in [("channel", &after.channel), ("revision", &after.revision)] {
        if let Some(text) = text {
            body[field] = text.as_str().into();
        }
    }
    client::snap_action(host, name, "install", body).await?;
    if after.version.is_some() {
        restore_snapshot(host, name).await?;
    }
    Ok(())
}

/// Brings back the data of a snap that was removed: the newest snapshot is the one that was taken then.
async fn restore_snapshot(host: &Writer, name: &str) -> Result<(), SnapdError> {
    let sets = client::get(
        &Reader::new(host.root()),
        &format!("/v2/snapshots?snaps={name}"),
    )
    .await?;
    let newest = sets
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|set| set["id"].as_u64())
        .max();
    if let Some(set) = newest {
        let body = |action: &str| json!({"action": action, "set": set, "snaps": [name]});
        let services = |action: &str| json!({"action": action, "names": [name]});
        client::change(host, "POST", "/v2/apps", &services("stop")).await?;
        client::change(host, "POST", "/v2/snapshots", &body("restore")).await?;
        client::change(host, "POST", "/v2/apps", &services("start")).await?;
        client::change(host, "POST", "/v2/snapshots", &body("forget")).await?;
    }
    Ok(())
}

/// Moves an installed snap to another revision or channel. Where the state was recorded, no other revision stays.
pub(crate) async fn refresh(
    host: &Writer,
    name: &str,
    before: &State,
    after: &State,
) -> Result<(), SnapdError> {
    let is_recorded = before.kept != after.kept;
    if let Some(file) = after
        .file
        .as_ref()
        .filter(|_| before.contents != after.contents || before.revision != after.revision)
    {
        return file::install(
            host,
            name,
            Path::new(file),
            after.dangerous,
            after.classic,
            after.devmode,
        )
        .await;
    }
    let switches = after
        .channel
        .as_ref()
        .filter(|channel| Some(*channel) != before.channel.as_ref() && *channel != NO_CHANNEL);
    match &after.revision {
        Some(revision) if Some(revision) != before.revision.as_ref() => {
            let is_kept = before.kept.iter().flatten().any(|kept| kept == revision);
            let action = if is_kept { "revert" } else { "refresh" };
            client::snap_action(host, name, action, json!({"revision": revision})).await?;
        }
        _ => {
            if let Some(channel) = switches.filter(|_| !is_recorded) {
                let refreshed =
                    client::snap_action(host, name, "refresh", json!({"channel": channel})).await;
                match refreshed {
                    Err(error) if error.kind() == "snap-no-update-available" => {}
                    refreshed => drop(refreshed?),
                }
            }
        }
    }
    if let Some(channel) = switches {
        let reader = Reader::new(host.root());
        let there = client::installed_snaps(&reader, &[name]).await?;
        if there
            .get(name)
            .is_some_and(|there| canonical_channel(&there.channel) != *channel)
        {
            client::snap_action(host, name, "switch", json!({"channel": channel})).await?;
        }
    }
    if let (true, Some(kept)) = (is_recorded, &after.kept) {
        for extra in before
            .kept
            .iter()
            .flatten()
            .filter(|one| !kept.contains(one))
        {
            client::snap_action(host, name, "remove", json!({"revision": extra})).await?;
        }
    }
    Ok(())
}

/// Sets what goes without another revision.
pub(crate) async fn reconcile(
    host: &Writer,
    name: &str,
    before: &State,
    after: &State,
) -> Result<(), SnapdError> {
    if let Some(enabled) = after.enabled.filter(|_| after.enabled != before.enabled) {
        let action = if enabled { "enable" } else { "disable" };
        client::snap_action(host, name, action, json!({})).await?;
    }
    let Some(hold) = after.hold.as_deref().filter(|_| after.hold != before.hold) else {
        return Ok(());
    };
    if !client::supports_hold(&Reader::new(host.root())).await? {
        let time = match (&after.held_until, hold) {
            (_, MAX_HOLD)
                if before.held_until == after.held_until || after.held_until.is_none() =>
            {
                if held_until(host).await?.is_some_and(|until| is_held(&until)) {
                    // Somebody holds them all already, until when they want.
                    return Ok(());
                }
                longest_hold(name).into()
            }
            (Some(until), _) if !until.is_empty() => until.as_str().into(),
            _ => Value::Null,
        };
        return client::set_settings(host, "system", &json!({"refresh.hold": time})).await;
    }
    match hold {
        NOT_HELD => client::snap_action(host, name, "unhold", json!({})).await,
        time => {
            let body = json!({"time": time, "hold-level": "general"});
            client::snap_action(host, name, "hold", body).await
        }
    }
    .map(drop)
}

/// Lets go of all snaps, after one has gone, if they were held for that one and nobody has set another end since.
pub(crate) async fn release_hold(host: &Writer, name: &str) -> Result<(), SnapdError> {
    if client::supports_hold(&Reader::new(host.root())).await? {
        return Ok(());
    }
    match held_until(host).await? {
        Some(until) if until.ends_with(&hold_marker(name)) => {
            client::set_settings(host, "system", &json!({"refresh.hold": null})).await
        }
        _ => Ok(()),
    }
}

async fn held_until(host: &Writer) -> Result<Option<String>, SnapdError> {
    let until = client::setting(&Reader::new(host.root()), "system", "refresh.hold").await?;
    Ok(until.and_then(|until| until.as_str().map(str::to_owned)))
}

/// Returns the latest end of a hold that snapd takes, marked as one that is for a snap.
fn longest_hold(name: &str) -> String {
    let end = Timestamp::now() + SignedDuration::from_hours(24 * MAX_HOLD_DAYS);
    end.strftime("%Y-%m-%dT%H:%M:%S").to_string() + &hold_marker(name)
}

/// Returns what marks the end of a hold: the fraction of its second, which people do not write, made of the name of the snap.
fn hold_marker(name: &str) -> String {
    let digest = digest(&name);
    let number = u64::from_str_radix(&digest[..12], 16).expect("a digest is hexadecimal");
    // snapd leaves zeros at the end away.
    format!(".{:08}1Z", number % 100_000_000)
}
