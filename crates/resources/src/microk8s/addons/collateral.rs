//! What is deleted with an addon when it is disabled. A script can only be read for names, so this errs on the side of caution.

use std::collections::BTreeSet;

use stead_engine::model::schema::Problem;

use crate::{
    host::{ClusterObject, Identity},
    microk8s::addons::{
        cluster::{Cluster, Standing},
        switch::SwitchError,
    },
};

/// Namespaces of the cluster itself, which no addon takes along.
const SHARED: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Scripts that take more than their addon's own: the groups, namespaces and labels of what they delete, in `addons/*/disable` of
/// `canonical/microk8s-core-addons` and `canonical/microk8s-community-addons`.
const HAZARDS: [Hazard; 6] = [
    Hazard {
        addon: "cert-manager",
        group: "cert-manager.io",
        namespace: "cert-manager",
        label: None,
    },
    Hazard {
        addon: "ingress",
        group: "traefik.io",
        namespace: "ingress",
        label: None,
    },
    Hazard {
        addon: "istio",
        group: "istio.io",
        namespace: "istio-system",
        label: Some(("app", "istiod")),
    },
    Hazard {
        addon: "minio",
        group: "minio.min.io",
        namespace: "minio-operator",
        label: None,
    },
    Hazard {
        addon: "observability",
        group: "monitoring.coreos.com",
        namespace: "observability",
        label: None,
    },
    Hazard {
        addon: "rook-ceph",
        group: "ceph.rook.io",
        namespace: "rook-ceph",
        label: None,
    },
];
/// Programs with which people make objects, by the beginning of the name that the API server notes.
const PEOPLE: [&str; 4] = ["kubectl", "helm", "Helm", "istio"];
struct Hazard {
    addon: &'static str,
    group: &'static str,
    namespace: &'static str,
    label: Option<(&'static str, &'static str)>,
}

impl Cluster {
    /// Says what would be lost of others', or stands in the way.
    pub(crate) fn dangers<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a String, &'a Option<Vec<String>>)>,
    ) -> Vec<Problem> {
        let mut problems = vec![];
        for (addon, wish) in wanted {
            let standing = self.standing(addon);
            let is_enabled = matches!(standing, Standing::Enabled(_) | Standing::Broken(_));
            let arguments = self.arguments(addon).unwrap_or_default();
            let is_kept =
                matches!(standing, Standing::Enabled(_)) && wish.as_ref() == Some(&arguments);
            let bare = addon.split_once('/').map_or(&**addon, |(_, bare)| bare);
            if is_enabled && !is_kept {
                let objects = self.would_die(addon);
                if !objects.is_empty() {
                    let error = SwitchError::WouldDie {
                        addon: addon.clone(),
                        objects,
                    };
                    let help = "move these elsewhere first, or leave the addon as it is";
                    problems.push(Problem::new(error.to_string()).at(bare).help(help));
                }
            }
            if !is_enabled && wish.is_some() {
                let objects = self.in_the_way(addon);
                if !objects.is_empty() {
                    let error = SwitchError::InTheWay {
                        addon: addon.clone(),
                        objects,
                    };
                    let help = "remove the addon from the spec, or delete them first";
                    problems.push(Problem::new(error.to_string()).at(bare).help(help));
                }
            }
        }
        problems
    }

    /// Returns what others made that goes when the addon is disabled.
    pub(crate) fn would_die(&self, name: &str) -> Vec<Identity> {
        self.doomed(name, &self.own(name))
    }

    /// As [`Self::would_die`], for what is the addon's own by its numbers.
    pub(crate) fn doomed(&self, name: &str, own: &BTreeSet<&str>) -> Vec<Identity> {
        let addon = &self.catalogue.addons[name];
        let hazard = HAZARDS
            .iter()
            .find(|hazard| name.split('/').next_back() == Some(hazard.addon));
        let words: BTreeSet<&str> = addon
            .disable
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.')
            .collect();
        let named = |kind: &str, name: &str| {
            let in_manifests = addon.manifests.iter();
            let mut in_manifests = in_manifests.map(|manifest| (&*manifest.kind, &*manifest.name));
            words.contains(name) || in_manifests.any(|manifest| manifest == (kind, name))
        };
        let is_doomed_namespace = |namespace: &str| {
            !SHARED.contains(&namespace)
                && (named("Namespace", namespace)
                    || hazard.is_some_and(|hazard| hazard.namespace == namespace)
                    || self.is_own_namespace(own, namespace))
        };
        let is_doomed = |object: &ClusterObject| {
            let identity = &object.identity;
            let definition = format!("{}.{}", identity.plural, identity.group);
            let is_of_hazard = hazard.is_some_and(|hazard| {
                let has = |(key, value)| object.labels.get(key).is_some_and(|is| is == value);
                let suffix = format!(".{}", hazard.group);
                identity.group == hazard.group
                    || identity.group.ends_with(&suffix)
                    || hazard.label.is_some_and(has)
            });
            is_of_hazard
                || identity
                    .namespace
                    .as_deref()
                    .is_some_and(is_doomed_namespace)
                || (identity.kind == "Namespace" && is_doomed_namespace(&identity.name))
                || named("CustomResourceDefinition", &definition)
                || addon.manifests.iter().any(|manifest| {
                    self.named(manifest)
                        .is_some_and(|named| named.identity.uid == identity.uid)
                })
        };
        self.live()
            .filter(|object| !object.is_owned && !own.contains(object.identity.uid.as_str()))
            .filter(|object| is_doomed(object) && !self.is_debris(own, object))
            .map(|object| object.identity.clone())
            .collect()
    }

    /// Whether a program of the addon made the object for itself: a setting or a secret in a namespace of the addon.
    pub(crate) fn is_debris(&self, own: &BTreeSet<&str>, object: &ClusterObject) -> bool {
        let by_people = object
            .maker
            .as_deref()
            .is_some_and(|maker| PEOPLE.iter().any(|program| maker.starts_with(program)));
        let namespace = object.identity.namespace.as_deref();
        matches!(&*object.identity.kind, "ConfigMap" | "Secret")
            && !by_people
            && namespace.is_some_and(|namespace| self.is_own_namespace(own, namespace))
    }

    fn is_own_namespace(&self, own: &BTreeSet<&str>, namespace: &str) -> bool {
        self.live().any(|object| {
            object.identity.kind == "Namespace"
                && object.identity.name == namespace
                && own.contains(object.identity.uid.as_str())
        })
    }
}
