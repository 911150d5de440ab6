//! MicroK8s takes what others made for an addon of its own.

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
    fact: "MicroK8s calls an addon enabled that nobody has enabled",
    why: "MicroK8s goes by names alone. `microk8s disable` and `microk8s reset` would delete by the same names: objects of \
          others, with their data.",
    looks_at: "For each addon that `microk8s status` calls enabled: whether the objects by which it does so are those of the \
               addon's own manifests, or came of enabling it by stead.",
    by_hand: &[
        "do not run `microk8s disable ADDON`; give these objects another name or namespace before you enable that addon",
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
                "MicroK8s calls {name} enabled because of {}",
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
