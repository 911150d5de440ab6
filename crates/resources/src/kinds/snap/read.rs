//! Reads the installed snaps from snapd.

use stead_engine::model::listing::Listing;

use crate::{
    host::Reader,
    kinds::snap::{
        file,
        state::{MAX_HOLD, NO_CHANNEL, State},
        store::canonical_channel,
    },
    snapd::{
        client::{self, SnapdError},
        hold::{NOT_HELD, canonical_hold, is_held},
        list::all_snaps,
    },
};

/// Reads the snaps of these names, in their order.
pub(crate) async fn read(host: &Reader, names: &[&str]) -> Result<Vec<Option<State>>, SnapdError> {
    let snaps = client::installed_snaps(host, names).await?;
    let held_until = if snaps.is_empty() || client::supports_hold(host).await? {
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
                Some(until) if is_held(until) => MAX_HOLD.to_owned(),
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
                kept: Some(snap.revisions.clone()),
                held_until: held_until.clone(),
                ..State::default()
            }))
        })
        .collect()
}

/// Lists the snaps that somebody installed.
pub(crate) async fn listing(host: &Reader) -> Result<Listing, SnapdError> {
    let mut listing = Listing::new("Installed snaps.", []);
    for snap in all_snaps(host).await? {
        match (snap.is_app, snap.has_programs) {
            (true, true) => drop(listing.managed.insert(snap.name)),
            (true, false) => {
                listing.ignore("it is only a dependency of other snaps", snap.name);
            }
            (false, _) => listing.default += 1,
        }
    }
    Ok(listing)
}

/// Patterns of the paths that change with a snap.
pub(crate) fn managed_paths(name: &str) -> Vec<String> {
    vec![
        "/var/lib/snapd/*".to_owned(),
        "/snap/*".to_owned(),
        "/etc/systemd/system/*snap-*.mount".to_owned(),
        format!("/etc/systemd/system/*snap.{name}.*"),
        format!("/var/snap/{name}"),
        format!("/var/snap/{name}/*"),
    ]
}
