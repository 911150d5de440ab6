//! snapd refreshes MicroK8s automatically.

use serde_json::Value;

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::layout::SNAP,
    snapd::{client, hold::is_held},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "refresh-not-held",
    fact: "MicroK8s is refreshed automatically",
    why: "A refresh stops the cluster, installs the arguments of the new release, and may overwrite settings made by hand, at a time that snapd chooses.",
    criterion: "The state of MicroK8s in snapd: it follows a channel, and neither it nor all snaps are held.",
    by_hand: &["snap refresh --hold microk8s"],
    spec: &["snap \"microk8s\" hold=\"forever\""],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let installed = client::installed_snaps(context.host, &[SNAP]).await?;
    let Some(snap) = installed.get(SNAP).filter(|snap| snap.hold.is_none()) else {
        return Ok(None);
    };
    // A file without a channel is never refreshed.
    if snap.channel.is_empty() || are_all_held(context).await? {
        return Ok(None);
    }
    Ok(Some(RULE.found(vec![format!(
        "snapd: {SNAP} {} follows {} and is not held",
        snap.version, snap.channel
    )])))
}

/// Whether all snaps are held: how an old snapd holds one.
async fn are_all_held(context: &DoctorContext<'_>) -> Result<bool, CheckError> {
    let until = client::setting(context.host, "system", "refresh.hold").await?;
    let until = until.as_ref().and_then(Value::as_str).unwrap_or_default();
    Ok(until == "forever" || is_held(until))
}
