//! Snaps and channels that an editor may suggest.

use serde_json::Value;

use crate::{
    host::Reader,
    snapd::{client, list},
};

/// Names the snaps that are installed.
pub(crate) async fn snaps(host: &Reader) -> Vec<String> {
    let all = list::all_snaps(host).await.unwrap_or_default();
    all.into_iter().map(|snap| snap.name).collect()
}

/// Names the channels of a snap: the one that it follows, and those of the store if it can be asked.
pub(crate) async fn channels(host: &Reader, name: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        return vec![];
    }
    let installed = client::installed_snaps(host, &[name])
        .await
        .unwrap_or_default();
    let followed = installed.into_values().map(|snap| snap.channel);
    let mut channels: Vec<String> = followed.filter(|channel| !channel.is_empty()).collect();
    let found = client::get(host, &format!("/v2/find?name={name}")).await;
    let of_store = found.ok().map(|found| found[0]["channels"].clone());
    if let Some(Value::Object(of_store)) = of_store {
        channels.extend(of_store.into_iter().map(|(channel, _)| channel));
    }
    channels.sort();
    channels.dedup();
    channels
}
