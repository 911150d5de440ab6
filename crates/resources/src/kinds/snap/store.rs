//! Checks a snap against the store before anything changes.

use stead_engine::model::schema::Problem;

use crate::{
    host::Reader,
    kinds::snap::state::State,
    snapd::client::{self, InstalledSnap, SnapdError},
};

/// The channel that is meant where none is named.
const DEFAULT_CHANNEL: &str = "latest/stable";

/// Asks what the store would send, where something would have to be sent or another channel is to be followed: what the store
/// refuses is known before anything changes.
pub(crate) async fn check_store(
    host: &Reader,
    name: &str,
    there: Option<&InstalledSnap>,
    desired: &mut State,
) -> Result<(), Vec<Problem>> {
    let channel = desired.channel.as_deref();
    let revision = desired.revision.as_deref();
    let is_followed = |channel| there.is_some_and(|there| channel == there.channel);
    let is_kept =
        |revision| there.is_some_and(|there| there.revisions.iter().any(|kept| kept == revision));
    let is_there = match (revision, channel) {
        (Some(revision), channel) => is_kept(revision) && channel.is_none_or(is_followed),
        (None, Some(channel)) => is_followed(channel),
        (None, None) => there.is_some(),
    };
    if is_there {
        return Ok(());
    }
    let mut download = None;
    if let Some(revision) = revision.filter(|revision| !is_kept(revision)) {
        match download_info(host, name, None, Some(revision)).await {
            Ok(Some(offer)) if offer.revision == revision => download = Some(offer.size),
            // Only root may ask; the plan then says nothing about it.
            Ok(None) => return Ok(()),
            Ok(Some(_)) => return Err(vec![no_revision(name, desired)]),
            Err(error) => return Err(vec![problem(name, &error, desired)]),
        }
    }
    if channel.is_some() || revision.is_none() {
        match download_info(host, name, channel, None).await {
            Ok(Some(offer)) => match revision {
                None => download = Some(offer.size),
                Some(revision) if revision == offer.revision => {}
                Some(_) => return Err(vec![other_revision(&offer, desired)]),
            },
            Ok(None) => return Ok(()),
            Err(error) => return Err(vec![problem(name, &error, desired)]),
        }
    }
    if there.is_none()
        && desired.classic != Some(true)
        && is_classic(host, name, channel).await == Some(true)
    {
        return Err(vec![
            Problem::new(format!("the snap `{name}` needs classic confinement"))
                .help("write `classic=#true` if it may have full access to the system"),
        ]);
    }
    desired.download = download;
    Ok(())
}

/// What the store would send.
struct DownloadInfo {
    revision: String,
    /// Bytes.
    size: u64,
}

async fn download_info(
    host: &Reader,
    name: &str,
    channel: Option<&str>,
    revision: Option<&str>,
) -> Result<Option<DownloadInfo>, SnapdError> {
    let reply = host.snap_download_info(name, channel, revision).await?;
    match client::parse_response(&reply) {
        Ok(_) => {}
        Err(error) if error.kind() == "login-required" => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = reply.header("content-disposition").unwrap_or_default();
    let revision = file
        .rsplit_once('_')
        .and_then(|(_, rest)| rest.trim_matches('"').strip_suffix(".snap"));
    let size = reply
        .header("snap-length")
        .and_then(|size| size.parse().ok());
    Ok(revision.map(|revision| DownloadInfo {
        revision: revision.to_owned(),
        size: size.unwrap_or(0),
    }))
}

/// Whether the store's description of a snap says that it has no confinement; `None` if there is no description to be had. Then
/// snapd refuses it when it is to be installed.
async fn is_classic(host: &Reader, name: &str, channel: Option<&str>) -> Option<bool> {
    let found = client::get(host, &format!("/v2/find?name={name}")).await;
    let snap = found.ok()?.as_array()?.first()?.clone();
    let of_channel = &snap["channels"][channel.unwrap_or(DEFAULT_CHANNEL)]["confinement"];
    let confinement = of_channel.as_str().or(snap["confinement"].as_str());
    confinement.map(|confinement| confinement == "classic")
}

fn no_revision(name: &str, desired: &State) -> Problem {
    Problem::new(format!(
        "the store has no revision {} of `{name}` for this host",
        desired.revision.as_deref().unwrap_or_default()
    ))
    .at("revision")
    .help(format!("`snap info {name}` lists the revisions"))
}

fn other_revision(offer: &DownloadInfo, desired: &State) -> Problem {
    Problem::new(format!(
        "the channel `{}` has revision {}, and `revision` is another one",
        desired.channel.as_deref().unwrap_or_default(),
        offer.revision
    ))
    .at("revision")
    .help("keep one of `channel` and `revision`")
}

fn problem(name: &str, error: &SnapdError, desired: &State) -> Problem {
    let channel = desired.channel.as_deref().unwrap_or(DEFAULT_CHANNEL);
    // What snapd says when the store answers with nothing at all: store/store_action.go.
    let is_nothing = error
        .to_string()
        .contains("no install/refresh information results");
    match error.kind() {
        kind if kind == "snap-not-found" || is_nothing => {
            Problem::new(format!("the store has no snap `{name}`"))
                .help("search for it with `snap find`")
        }
        "snap-channel-not-available" => Problem::new(format!(
            "the store has no `{name}` in the channel `{channel}`"
        ))
        .at("channel")
        .help(format!("`snap info {name}` lists the channels")),
        "snap-revision-not-available" => no_revision(name, desired),
        _ if error.is_unreachable() => error.problem(),
        "snap-architecture-not-available" => {
            Problem::new(format!("the store has no `{name}` for this architecture"))
        }
        _ => Problem::new(format!("the store cannot be asked about `{name}`: {error}"))
            .help("check the connection to the store: `snap debug connectivity`"),
    }
}

/// Gives a channel its one spelling: `TRACK/RISK[/BRANCH]`.
pub(crate) fn canonical_channel(channel: &str) -> String {
    let is_risk = |part: &str| matches!(part, "stable" | "candidate" | "beta" | "edge");
    let parts: Vec<_> = channel.split('/').collect();
    match parts.as_slice() {
        [risk] if is_risk(risk) => format!("latest/{risk}"),
        [track] => format!("{track}/stable"),
        [risk, _] if is_risk(risk) => format!("latest/{channel}"),
        _ => channel.to_owned(),
    }
}

/// Says so when a snap would need another confinement than it has.
pub(crate) fn check_confinement(
    name: &str,
    there: &InstalledSnap,
    desired: &State,
) -> Result<(), Vec<Problem>> {
    for (wanted, is, attribute) in [
        (desired.classic, there.classic, "classic"),
        (desired.devmode, there.devmode, "devmode"),
    ] {
        if wanted.is_some_and(|wanted| wanted != is) {
            let message = format!(
                "{name} is installed with `{attribute}=#{is}`, and snapd cannot change that"
            );
            return Err(vec![Problem::new(message).at(attribute).help(format!(
                "write `{attribute}=#{is}`, or remove the snap first"
            ))]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_channel_adds_the_missing_track() {
        for (written, expected) in [
            ("stable", "latest/stable"),
            ("1.32", "1.32/stable"),
            ("1.32/edge", "1.32/edge"),
            ("edge/fix", "latest/edge/fix"),
            ("1.32/edge/fix", "1.32/edge/fix"),
        ] {
            assert_eq!(canonical_channel(written), expected);
        }
    }
}
