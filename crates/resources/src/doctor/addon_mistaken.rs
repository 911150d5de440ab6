//! MicroK8s mistakes objects of others for an addon.

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::addons::{
        cluster::{AddonStatus, Cluster, ClusterView},
        switch::join_identities,
    },
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "addon-mistaken",
    fact: "MicroK8s reports an addon as enabled that was not enabled",
    why: "MicroK8s recognizes addons by names alone. `microk8s disable` and `microk8s reset` delete by the same names: objects that do not belong to the addon, with their data.",
    criterion: "For each addon that `microk8s status` reports as enabled: whether the objects that it is recognized by are those of its manifests, or were created when stead enabled it.",
    by_hand: &[
        "do not run `microk8s disable ADDON`; move these objects to another name or namespace before you enable the addon",
    ],
    spec: &[],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let cluster = match Cluster::read(context.host).await? {
        ClusterView::Cluster(cluster) => cluster,
        ClusterView::NotInstalled | ClusterView::Unknown => return Ok(None),
    };
    let mut evidence = vec![];
    let mut addons = vec![];
    for name in cluster.catalog.addons.keys() {
        if let AddonStatus::Mistaken(objects) = cluster.status(name) {
            evidence.push(format!(
                "MicroK8s reports {name} as enabled because of {}",
                join_identities(&objects)
            ));
            addons.push(name);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok::<_, CheckError>(Some(RULE.found(evidence).substitute("ADDON", &addons)))
}
