//! What is deleted with an addon when it is disabled. A script can only be read for names, so this errs on the side of caution.

use std::collections::BTreeSet;

use stead_engine::model::schema::Problem;

use crate::{
    host::{ClusterObject, ObjectIdentity},
    microk8s::addons::{
        cluster::{AddonStatus, Cluster},
        switch::AddonError,
    },
};

/// Namespaces of the cluster itself, which no addon takes along.
const SHARED_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Scripts that take more than their addon's own: the groups, namespaces and labels of what they delete, in `addons/*/disable` of
/// `canonical/microk8s-core-addons` and `canonical/microk8s-community-addons`.
const SCRIPT_RISKS: [ScriptRisk; 6] = [
    ScriptRisk {
        addon: "cert-manager",
        group: "cert-manager.io",
        namespace: "cert-manager",
        label: None,
    },
    ScriptRisk {
        addon: "ingress",
        group: "traefik.io",
        namespace: "ingress",
        label: None,
    },
    ScriptRisk {
        addon: "istio",
        group: "istio.io",
        namespace: "istio-system",
        label: Some(("app", "istiod")),
    },
    ScriptRisk {
        addon: "minio",
        group: "minio.min.io",
        namespace: "minio-operator",
        label: None,
    },
    ScriptRisk {
        addon: "observability",
        group: "monitoring.coreos.com",
        namespace: "observability",
        label: None,
    },
    ScriptRisk {
        addon: "rook-ceph",
        group: "ceph.rook.io",
        namespace: "rook-ceph",
        label: None,
    },
];
/// Programs with which people make objects, by the beginning of the name that the API server notes.
const USER_FIELD_MANAGERS: [&str; 4] = ["kubectl", "helm", "Helm", "istio"];
struct ScriptRisk {
    addon: &'static str,
    group: &'static str,
    namespace: &'static str,
    label: Option<(&'static str, &'static str)>,
}

impl Cluster {
    /// Says what would be lost of others', or stands in the way.
    pub(crate) fn blocking_risks<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a String, &'a Option<Vec<String>>)>,
    ) -> Vec<Problem> {
        let mut problems = vec![];
        for (addon, wish) in wanted {
            let status = self.status(addon);
            let is_enabled = matches!(status, AddonStatus::Enabled(_) | AddonStatus::Broken(_));
            let arguments = self.arguments(addon).unwrap_or_default();
            let is_kept =
                matches!(status, AddonStatus::Enabled(_)) && wish.as_ref() == Some(&arguments);
            let bare = addon.split_once('/').map_or(&**addon, |(_, bare)| bare);
            if is_enabled && !is_kept {
                let objects = self.would_be_deleted(addon);
                if !objects.is_empty() {
                    let error = AddonError::WouldDelete {
                        addon: addon.clone(),
                        objects,
                    };
                    let help = "move these elsewhere first, or leave the addon as it is";
                    problems.push(Problem::new(error.to_string()).at(bare).help(help));
                }
            }
            if !is_enabled && wish.is_some() {
                let objects = self.conflicting_objects(addon);
                if !objects.is_empty() {
                    let error = AddonError::Conflict {
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
    pub(crate) fn would_be_deleted(&self, name: &str) -> Vec<ObjectIdentity> {
        self.deletion_set(name, &self.own_uids(name))
    }

    /// As [`Self::would_be_deleted`], for what is the addon's own by its numbers.
    pub(crate) fn deletion_set(&self, name: &str, own: &BTreeSet<&str>) -> Vec<ObjectIdentity> {
        let addon = &self.catalog.addons[name];
        let risk = SCRIPT_RISKS
            .iter()
            .find(|risk| name.split('/').next_back() == Some(risk.addon));
        let words: BTreeSet<&str> = addon
            .disable
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.')
            .collect();
        let named = |kind: &str, name: &str| {
            let in_manifests = addon.manifests.iter();
            let mut in_manifests = in_manifests.map(|manifest| (&*manifest.kind, &*manifest.name));
            words.contains(name) || in_manifests.any(|manifest| manifest == (kind, name))
        };
        let is_deleted_namespace = |namespace: &str| {
            !SHARED_NAMESPACES.contains(&namespace)
                && (named("Namespace", namespace)
                    || risk.is_some_and(|risk| risk.namespace == namespace)
                    || self.is_own_namespace(own, namespace))
        };
        let is_deleted = |object: &ClusterObject| {
            let identity = &object.identity;
            let definition = format!("{}.{}", identity.plural, identity.group);
            let is_at_risk = risk.is_some_and(|risk| {
                let has = |(key, value)| object.labels.get(key).is_some_and(|is| is == value);
                let suffix = format!(".{}", risk.group);
                identity.group == risk.group
                    || identity.group.ends_with(&suffix)
                    || risk.label.is_some_and(has)
            });
            is_at_risk
                || identity
                    .namespace
                    .as_deref()
                    .is_some_and(is_deleted_namespace)
                || (identity.kind == "Namespace" && is_deleted_namespace(&identity.name))
                || named("CustomResourceDefinition", &definition)
                || addon.manifests.iter().any(|manifest| {
                    self.find_object(manifest)
                        .is_some_and(|named| named.identity.uid == identity.uid)
                })
        };
        self.live()
            .filter(|object| !object.is_owned && !own.contains(object.identity.uid.as_str()))
            .filter(|object| is_deleted(object) && !self.is_leftover(own, object))
            .map(|object| object.identity.clone())
            .collect()
    }

    /// Whether a program of the addon made the object for itself: a setting or a secret in a namespace of the addon.
    pub(crate) fn is_leftover(&self, own: &BTreeSet<&str>, object: &ClusterObject) -> bool {
        let by_people = object.created_by.as_deref().is_some_and(|maker| {
            USER_FIELD_MANAGERS
                .iter()
                .any(|program| maker.starts_with(program))
        });
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
