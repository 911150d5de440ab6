//! snapd refreshes MicroK8s automatically.

use serde_json::Value;

use crate::{
    doctor::{
        context::{Hidden, Look, Patient},
        finding::Ailment,
    },
    microk8s::layout::SNAP,
    snapd::{client, hold::is_held},
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "refresh-not-held",
    fact: "MicroK8s is refreshed automatically",
    why: "A refresh stops the cluster, installs the arguments of the new release, and may overwrite settings made by hand, at a time that snapd chooses.",
    looks_at: "The state of MicroK8s in snapd: it follows a channel, and neither it nor all snaps are held.",
    by_hand: &["snap refresh --hold microk8s"],
    spec: &["snap \"microk8s\" hold=\"forever\""],
};

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let installed = client::installed(patient.host, &[SNAP]).await?;
    let Some(snap) = installed.get(SNAP).filter(|snap| snap.hold.is_none()) else {
        return Ok(None);
    };
    // A file without a channel is never refreshed.
    if snap.channel.is_empty() || are_all_held(patient).await? {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(vec![format!(
        "snapd: {SNAP} {} follows {} and is not held",
        snap.version, snap.channel
    )])))
}

/// Whether all snaps are held: how an old snapd holds one.
async fn are_all_held(patient: &Patient<'_>) -> Result<bool, Hidden> {
    let until = client::setting(patient.host, "system", "refresh.hold").await?;
    let until = until.as_ref().and_then(Value::as_str).unwrap_or_default();
    Ok(until == "forever" || is_held(until))
}
