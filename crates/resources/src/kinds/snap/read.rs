//! What snapd is asked for: which snaps there are, and how they are.

use std::collections::BTreeMap;

use serde_json::Value;
use stead_engine::model::listing::Listing;

use crate::{
    host::Reader,
    kinds::snap::{
        change::{canonical_hold, is_held},
        file,
        state::{LONGEST, NO_CHANNEL, NOT_HELD, State},
        store::canonical_channel,
    },
    snapd::client::{self, SnapdError, get},
};

/// Why there is nothing to import without it.
pub(crate) const NONE: &str = "this host has no snapd";

/// A snap as a listing needs it.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a program, and not a base, a kernel or snapd itself.
    pub(crate) is_app: bool,
    /// Whether it brings anything to run.
    pub(crate) has_programs: bool,
}

/// Returns all snaps, each once.
pub(crate) async fn all(host: &Reader) -> Result<Vec<Listed>, SnapdError> {
    let list = get(host, "/v2/snaps?select=all").await?;
    let mut all: BTreeMap<String, Listed> = BTreeMap::new();
    for snap in list.as_array().into_iter().flatten() {
        let name = snap["name"].as_str().unwrap_or_default().to_owned();
        let listed = Listed {
            name: name.clone(),
            is_app: snap["type"] == "app",
            has_programs: snap["apps"].as_array().is_some_and(|apps| !apps.is_empty()),
        };
        all.insert(name, listed);
    }
    Ok(all.into_values().collect())
}

/// Reads the snaps of these names, in their order.
pub(crate) async fn read(host: &Reader, names: &[&str]) -> Result<Vec<Option<State>>, SnapdError> {
    let snaps = client::installed(host, names).await?;
    let held_until = if snaps.is_empty() || client::holds_snaps(host).await? {
        None
    } else {
        Some(
            client::setting(host, "system", "refresh.hold")
                .await?
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default(),
        )
    };
    names
        .iter()
        .map(|name| {
            let Some(snap) = snaps.get(*name) else {
                return Ok(None);
            };
            let contents = match snap.revision.strip_prefix('x') {
                Some(_) => file::digest_installed(host, name, &snap.revision)?,
                None => Some("store".to_owned()),
            };
            let hold = match &held_until {
                None => canonical_hold(snap.hold.as_deref()),
                Some(until) if is_held(until) => LONGEST.to_owned(),
                Some(_) => NOT_HELD.to_owned(),
            };
            let channel = match snap.channel.as_str() {
                "" => NO_CHANNEL.to_owned(),
                channel => canonical_channel(channel),
            };
            Ok(Some(State {
                channel: Some(channel),
                revision: Some(snap.revision.clone()),
                classic: Some(snap.classic),
                devmode: Some(snap.devmode),
                hold: Some(hold),
                enabled: Some(snap.enabled),
                contents,
                version: Some(snap.version.clone()),
                kept: Some(snap.kept.clone()),
                held_until: held_until.clone(),
                ..State::default()
            }))
        })
        .collect()
}

/// Lists the snaps that somebody installed.
pub(crate) async fn listing(host: &Reader) -> Result<Listing, SnapdError> {
    let mut listing = Listing::of("Snaps that somebody installed.", []);
    for snap in all(host).await? {
        match (snap.is_app, snap.has_programs) {
            (true, true) => drop(listing.managed.insert(snap.name)),
            (true, false) => {
                listing.ignore("it brings nothing to run: another snap needs it", snap.name);
            }
            (false, _) => listing.default += 1,
        }
    }
    Ok(listing)
}

/// Returns all settings of a snap, each under its whole name: `refresh.timer`.
pub(crate) async fn settings(
    host: &Reader,
    snap: &str,
) -> Result<Vec<(String, Value)>, SnapdError> {
    let mut flat = vec![];
    flatten(
        "",
        &get(host, &format!("/v2/snaps/{snap}/conf")).await?,
        &mut flat,
    );
    Ok(flat)
}

/// Takes a setting that holds others apart.
pub(crate) fn flatten(above: &str, value: &Value, flat: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if above.is_empty() { "" } else { "." };
                flatten(&format!("{above}{dot}{key}"), value, flat);
            }
        }
        value => flat.push((above.to_owned(), value.clone())),
    }
}

/// Patterns of the paths that change with a snap.
pub(crate) fn places(name: &str) -> Vec<String> {
    vec![
        "/var/lib/snapd/*".to_owned(),
        "/snap/*".to_owned(),
        "/etc/systemd/system/*snap-*.mount".to_owned(),
        format!("/etc/systemd/system/*snap.{name}.*"),
        format!("/var/snap/{name}"),
        format!("/var/snap/{name}/*"),
    ]
}
