//! Which addons are enabled, and which objects belong to them. `MicroK8s` takes any object with the right name for its addon; here the
//! record decides, and else the manifests of the addon.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    host::{ClusterObject, HostError, ObjectIdentity, Reader},
    microk8s::{
        addons::{
            catalog::{Addon, Catalog, Manifest, StatusCheck, has_placeholder},
            record::{AddonRecord, AddonRecords},
        },
        layout::Layout,
    },
};

/// Kinds that last as long as their addon. Jobs end, and programs of addons replace their own settings and secrets.
const PERSISTENT_KINDS: [&str; 16] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "Ingress",
    "IngressClass",
    "Namespace",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];
/// The service that runs the API server.
const KUBELITE_UNIT: &str = "snap.microk8s.daemon-kubelite.service";
/// How long the API server may be on its way after its service was started.
const STARTUP_GRACE: Duration = Duration::from_mins(2);
/// How often it is asked then.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// The addon whose arguments can be seen: the name servers to which `CoreDNS` forwards.
const DNS_ADDON: &str = "core/dns";
/// What `CoreDNS` forwards to when nobody says where to.
const DEFAULT_FORWARDER: &str = "/etc/resolv.conf";

/// What there is to see.
#[derive(Debug)]
pub(crate) enum ClusterView {
    /// `MicroK8s` is not installed.
    NotInstalled,
    /// It is, and nothing can be said about its addons: it is stopped, a worker, or too old, or only root may ask.
    Unknown,
    /// All of it.
    Cluster(Box<Cluster>),
}

/// A cluster in one moment.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) kubeconfig: String,
    pub(crate) catalog: Catalog,
    pub(crate) records: AddonRecords,
    pub(crate) objects: Arc<[ClusterObject]>,
    /// The addons that a file makes known.
    files: BTreeSet<String>,
    /// Where `CoreDNS` forwards to.
    forwarders: Option<Vec<String>>,
}

/// How it is with an addon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddonStatus {
    /// It is not enabled.
    Disabled,
    /// It is.
    Enabled(EnabledBy),
    /// Stead enabled it, and these have gone since.
    Broken(Vec<ObjectIdentity>),
    /// It is not, but `MicroK8s` takes these for it.
    Mistaken(Vec<ObjectIdentity>),
}

/// Who enabled an addon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnabledBy {
    /// Stead did.
    Stead,
    /// Somebody else did.
    Other,
    /// Nobody: it is part of the snap.
    BuiltIn,
}

impl Cluster {
    /// Looks at the cluster of this host.
    pub(crate) async fn read(host: &Reader) -> Result<ClusterView, HostError> {
        let Some(layout) = Layout::find(host)? else {
            return Ok(ClusterView::NotInstalled);
        };
        let kubeconfig = match layout.kubeconfig(host) {
            Err(HostError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                None
            }
            text => text?,
        };
        let Some(kubeconfig) = kubeconfig.filter(|_| !layout.is_stopped && !layout.is_worker)
        else {
            return Ok(ClusterView::Unknown);
        };
        let Some(catalog) = Catalog::read(host, &layout)? else {
            return Ok(ClusterView::Unknown);
        };
        let mut files = BTreeSet::new();
        for (name, addon) in &catalog.addons {
            if let StatusCheck::File(path) = &addon.check
                && host.stat(path)?.is_some()
            {
                files.insert(name.clone());
            }
        }
        let objects = wait_for_objects(host, &kubeconfig).await?;
        let corefile = host
            .config_map(&kubeconfig, "kube-system", "coredns")
            .await?
            .and_then(|mut map| map.remove("Corefile"));
        Ok(ClusterView::Cluster(Box::new(Self {
            records: AddonRecords::read(host, &kubeconfig).await?,
            forwarders: corefile.map(|text| forwarders(&text)),
            kubeconfig,
            catalog,
            objects,
            files,
        })))
    }

    /// Says how it is with an addon, by its full name.
    pub(crate) fn status(&self, name: &str) -> AddonStatus {
        let Some(addon) = self.catalog.addons.get(name) else {
            return AddonStatus::Disabled;
        };
        if addon.check == StatusCheck::BuiltIn {
            return AddonStatus::Enabled(EnabledBy::BuiltIn);
        }
        let record = self.records.0.get(name);
        if let Some(record) = record.filter(|record| record.partial.is_none()) {
            let (there, gone): (Vec<_>, Vec<_>) = persistent_objects(record)
                .cloned()
                .partition(|identity| self.is_live(&identity.uid));
            match (there.is_empty(), gone.is_empty()) {
                (false, true) => return AddonStatus::Enabled(EnabledBy::Stead),
                (false, false) => return AddonStatus::Broken(gone),
                (true, true) if self.is_reported_enabled(name) => {
                    return AddonStatus::Enabled(EnabledBy::Stead);
                }
                // Nothing of it is left: whoever enabled it again since was not stead.
                (true, _) => {}
            }
        }
        self.unrecorded_status(name, addon)
    }

    /// As [`Self::status`], of an addon that stead did not enable.
    fn unrecorded_status(&self, name: &str, addon: &Addon) -> AddonStatus {
        let StatusCheck::Object(_) = addon.check else {
            return if self.is_reported_enabled(name) {
                AddonStatus::Enabled(EnabledBy::Other)
            } else {
                AddonStatus::Disabled
            };
        };
        let hits = self.matching_objects(addon);
        let mut workloads = addon.workloads().peekable();
        // Where no manifest says how its objects look, the word of `MicroK8s` has to do.
        let is_told = workloads.peek().is_none() && !hits.is_empty();
        if is_told || workloads.any(|manifest| self.made_from(manifest).is_some()) {
            AddonStatus::Enabled(EnabledBy::Other)
        } else if hits.is_empty() {
            AddonStatus::Disabled
        } else {
            AddonStatus::Mistaken(hits)
        }
    }

    /// Whether `MicroK8s` takes the addon for enabled.
    pub(crate) fn is_reported_enabled(&self, name: &str) -> bool {
        let Some(addon) = self.catalog.addons.get(name) else {
            return false;
        };
        match addon.check {
            StatusCheck::BuiltIn => true,
            StatusCheck::File(_) => self.files.contains(name),
            StatusCheck::Object(_) => !self.matching_objects(addon).is_empty(),
        }
    }

    /// Returns the objects by which `MicroK8s` takes the addon for enabled, without those that others of them own.
    fn matching_objects(&self, addon: &Addon) -> Vec<ObjectIdentity> {
        let StatusCheck::Object(text) = &addon.check else {
            return vec![];
        };
        if text.is_empty() {
            return vec![];
        }
        let hits = self.live().filter(|object| {
            let ObjectIdentity {
                group, kind, name, ..
            } = &object.identity;
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{name}", kind.to_lowercase()).contains(text.as_str())
        });
        hits.map(|object| object.identity.clone()).collect()
    }

    /// Returns the object that was made from a manifest of a workload: it is where the manifest says, and `kubectl apply` made it with
    /// the same selector from one of the same images. Tags do not count: repositories are updated.
    fn made_from(&self, manifest: &Manifest) -> Option<&ClusterObject> {
        let object = self.find_object(manifest)?;
        let applied: Value = serde_json::from_str(object.last_applied.as_deref()?).ok()?;
        let selector = |of: &Value| of["spec"]["selector"].clone();
        let (wanted, there) = (images(&manifest.content), images(&applied));
        let is_same = selector(&manifest.content) == selector(&applied)
            && (wanted.is_empty() || wanted.intersection(&there).next().is_some());
        is_same.then_some(object)
    }

    /// Returns the object that has the kind, the namespace and the name of a manifest.
    pub(crate) fn find_object(&self, manifest: &Manifest) -> Option<&ClusterObject> {
        self.live().find(|object| {
            let ObjectIdentity {
                kind,
                namespace,
                name,
                ..
            } = &object.identity;
            *kind == manifest.kind
                && *name == manifest.name
                && manifest
                    .namespace
                    .as_ref()
                    .is_none_or(|wanted| namespace.as_ref() == Some(wanted))
        })
    }

    /// Returns what stands where the addon would put its own, and is not its own.
    pub(crate) fn conflicting_objects(&self, name: &str) -> Vec<ObjectIdentity> {
        if let AddonStatus::Mistaken(objects) = self.status(name) {
            return objects;
        }
        let own = self.own_uids(name);
        let addon = &self.catalog.addons[name];
        addon
            .workloads()
            .filter(|manifest| self.made_from(manifest).is_none())
            .filter_map(|manifest| self.find_object(manifest))
            .filter(|object| !own.contains(object.identity.uid.as_str()))
            .map(|object| object.identity.clone())
            .collect()
    }

    /// Returns the numbers of the addon's own objects: those that were recorded, or else those that its manifests made.
    pub(crate) fn own_uids(&self, name: &str) -> BTreeSet<&str> {
        let recorded = self.records.0.get(name).into_iter();
        let mut own: BTreeSet<&str> = recorded
            .flat_map(|record| &record.objects)
            .map(|identity| identity.uid.as_str())
            .filter(|uid| self.is_live(uid))
            .collect();
        if own.is_empty()
            && let AddonStatus::Enabled(_) = self.status(name)
        {
            let manifests = &self.catalog.addons[name].manifests;
            let made = manifests
                .iter()
                .filter_map(|manifest| self.find_object(manifest));
            own.extend(
                made.filter(|object| object.last_applied.is_some())
                    .map(|object| object.identity.uid.as_str()),
            );
        }
        own
    }

    /// Returns the arguments that an enabled addon has; `None` if nobody can tell.
    pub(crate) fn arguments(&self, name: &str) -> Option<Vec<String>> {
        let record = self.records.0.get(name);
        let is_own = self.status(name) == AddonStatus::Enabled(EnabledBy::Stead);
        let recorded = record
            .filter(|_| is_own)
            .map(|record| record.arguments.clone());
        if name != DNS_ADDON {
            return recorded;
        }
        let Some(forwarders) = &self.forwarders else {
            return recorded;
        };
        let listed = forwarders.join(",");
        match recorded {
            // Without arguments the script itself chooses.
            Some(arguments) if arguments.first().is_none_or(|first| *first == listed) => {
                Some(arguments)
            }
            Some(mut arguments) => {
                arguments[0] = listed;
                Some(arguments)
            }
            None if listed == DEFAULT_FORWARDER => Some(vec![]),
            None => Some(vec![listed]),
        }
    }

    /// Returns the objects that are not going.
    pub(crate) fn live(&self) -> impl Iterator<Item = &ClusterObject> {
        self.objects.iter().filter(|object| !object.is_terminating)
    }

    /// Whether an object is there, by its number.
    pub(crate) fn is_live(&self, uid: &str) -> bool {
        self.live().any(|object| object.identity.uid == uid)
    }
}

/// Asks what is in the cluster, and waits while kubelite has only just been started.
async fn wait_for_objects(
    host: &Reader,
    kubeconfig: &str,
) -> Result<Arc<[ClusterObject]>, HostError> {
    loop {
        let error = match host.cluster_objects(kubeconfig).await {
            Err(error) => error,
            objects => return objects,
        };
        if !host.has_systemd()? {
            return Err(error);
        }
        let status = host.unit(KUBELITE_UNIT).await?;
        let started = UNIX_EPOCH + Duration::from_micros(status.started_at);
        let is_new = started.elapsed().is_ok_and(|age| age < STARTUP_GRACE);
        if !is_new || !matches!(&*status.active_state, "active" | "activating") {
            return Err(error);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns the recorded objects that last as long as their addon.
pub(crate) fn persistent_objects(record: &AddonRecord) -> impl Iterator<Item = &ObjectIdentity> {
    let objects = record.objects.iter();
    objects.filter(|identity| PERSISTENT_KINDS.contains(&identity.kind.as_str()))
}

/// Returns the images of a workload, without tags; those that a script fills in are left out.
fn images(workload: &Value) -> BTreeSet<String> {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array();
    let images = containers.into_iter().flatten();
    images
        .filter_map(|container| container["image"].as_str())
        .filter(|image| !has_placeholder(image))
        .map(|image| {
            let image = image.split('@').next().unwrap_or(image);
            match image.rsplit_once(':') {
                Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
                _ => image.to_owned(),
            }
        })
        .collect()
}

/// Returns where a Corefile forwards to.
fn forwarders(corefile: &str) -> Vec<String> {
    let lines = corefile.lines().map(str::split_whitespace);
    let to = lines.filter_map(|mut words| {
        let is_all = words.next() == Some("forward") && words.next() == Some(".");
        is_all.then(|| words.take_while(|word| *word != "{"))
    });
    to.fold(None, |_, last| Some(last))
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}
