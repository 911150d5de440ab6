//! MicroK8s mistakes objects of others for an addon.

use crate::{
    doctor::{
        context::{Hidden, Look, Patient},
        finding::Ailment,
    },
    microk8s::addons::{
        cluster::{Cluster, Seen, Standing},
        switch::list,
    },
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "addon-mistaken",
    fact: "MicroK8s reports an addon as enabled that was not enabled",
    why: "MicroK8s recognizes addons by names alone. `microk8s disable` and `microk8s reset` delete by the same names: objects that do not belong to the addon, with their data.",
    looks_at: "For each addon that `microk8s status` reports as enabled: whether the objects that it is recognized by are those of its manifests, or were created when stead enabled it.",
    by_hand: &[
        "do not run `microk8s disable ADDON`; move these objects to another name or namespace before you enable the addon",
    ],
    spec: &[],
};

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let cluster = match Cluster::look(patient.host).await? {
        Seen::Cluster(cluster) => cluster,
        Seen::Nothing | Seen::Unknown => return Ok(None),
    };
    let mut evidence = vec![];
    let mut addons = vec![];
    for name in cluster.catalogue.addons.keys() {
        if let Standing::Mistaken(objects) = cluster.standing(name) {
            evidence.push(format!(
                "MicroK8s reports {name} as enabled because of {}",
                list(&objects)
            ));
            addons.push(name);
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok::<_, Hidden>(Some(AILMENT.seen(evidence).with("ADDON", &addons)))
}
