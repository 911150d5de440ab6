//! The layout of MicroK8s on this host: where its files are, which service reads which of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use stead_engine::model::schema::Problem;

use crate::{
    host::{HostError, Reader},
    microk8s::args_file::{ArgsFile, Grammar},
};

/// The name of the snap.
pub(crate) const SNAP: &str = "microk8s";
/// Where the data of the current revision is: a symlink to the directory of that revision.
const CURRENT: &str = "/var/snap/microk8s/current";
/// Where the data of all revisions is.
pub(crate) const COMMON: &str = "/var/snap/microk8s/common";
/// Where its revisions are mounted.
const SNAP_MOUNT: &str = "/snap/microk8s";
/// Why there is nothing to import without it.
pub(crate) const NOT_INSTALLED: &str = "MicroK8s is not installed";
/// The largest file of arguments that is read, in bytes.
pub(crate) const LIMIT: u64 = 1 << 20;

/// Arguments that MicroK8s itself sets or removes at each start, by file:
/// `microk8s-resources/wrappers/run-kubelite-with-args`.
const SELF_MANAGED: [(&str, &str); 5] = [
    ("kubelite", "start-control-plane"),
    ("kubelet", "resolv-conf"),
    ("kubelet", "runtime-cgroups"),
    ("kubelet", "kubelet-cgroups"),
    ("kube-proxy", "conntrack-max-per-core"),
];

/// Files of arguments and the group of services that read them. Services of a group are restarted and awaited together.
const FILES: [(&str, &str); 16] = [
    ("kubelite", KUBERNETES),
    ("kube-apiserver", KUBERNETES),
    ("kube-controller-manager", KUBERNETES),
    ("kube-scheduler", KUBERNETES),
    ("kube-proxy", KUBERNETES),
    ("kubelet", KUBERNETES),
    ("containerd", "containerd"),
    ("containerd-env", "containerd"),
    ("k8s-dqlite", "k8s-dqlite"),
    ("k8s-dqlite-env", "k8s-dqlite"),
    ("etcd", "etcd"),
    ("flanneld", "flanneld"),
    ("flanneld-env", "flanneld"),
    ("cluster-agent", "cluster-agent"),
    ("apiserver-proxy", "apiserver-proxy"),
    ("docker", "docker"),
];

/// The group of the API server, kube-proxy and their kin.
pub(crate) const KUBERNETES: &str = "kubernetes";
/// The file that only releases with kubelite have, which runs all of that group.
const KUBELITE: &str = "kubelite";

/// Returns the path of a file of arguments, through the link to the revision of now.
pub(crate) fn current_args(file: &str) -> PathBuf {
    Path::new(CURRENT).join("args").join(file)
}

/// Returns the services that a group may have, in whatever release.
pub(crate) fn possible_services(group: &str) -> BTreeSet<String> {
    let files = FILES.iter().filter(|(_, its_group)| *its_group == group);
    files
        .flat_map(|(file, _)| [true, false].map(|is_kubelite| service(is_kubelite, file)))
        .collect()
}

/// MicroK8s as it is installed.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The directory of the current revision.
    pub(crate) data: PathBuf,
    /// Whether one process runs all of Kubernetes: from 1.21 on.
    pub(crate) is_kubelite: bool,
    /// Whether `microk8s stop` was used.
    pub(crate) is_stopped: bool,
    /// Whether the node joined another's cluster as a worker.
    pub(crate) is_worker: bool,
}

impl Layout {
    /// Looks at this host; `None` if MicroK8s is not installed.
    pub(crate) fn find(host: &Reader) -> Result<Option<Self>, HostError> {
        let current = Path::new(CURRENT);
        if host.stat(current)?.is_none() {
            return Ok(None);
        }
        let target = host.read_link(current)?;
        let revision = target.file_name().unwrap_or_default();
        let data = current.with_file_name(revision);
        let has = |path: &str| Ok::<_, HostError>(host.stat(&data.join(path))?.is_some());
        if !has("args")? {
            return Ok(None);
        }
        Ok(Some(Self {
            is_kubelite: has("args/kubelite")?,
            is_stopped: has("var/lock/stopped.lock")?,
            is_worker: has("var/lock/clustered.lock")?,
            data,
        }))
    }

    /// As [`Self::find`], for what needs a MicroK8s that runs here.
    pub(crate) fn running(host: &Reader) -> Result<Self, Vec<Problem>> {
        let layout = Self::find(host).map_err(|error| vec![Problem::new(error.to_string())])?;
        let Some(layout) = layout else {
            return Err(vec![
                Problem::new("MicroK8s is not installed on this host")
                    .help("write `snap \"microk8s\" channel=\"1.32/stable\" classic=#true`"),
            ]);
        };
        if layout.is_stopped {
            return Err(vec![
                Problem::new("MicroK8s is stopped").help("start it: `microk8s start`"),
            ]);
        }
        Ok(layout)
    }

    /// Returns the directory of the snap itself, which nobody can change.
    pub(crate) fn snap(&self) -> PathBuf {
        Path::new(SNAP_MOUNT).join(self.data.file_name().unwrap_or_default())
    }

    /// Returns the path of a file of arguments.
    pub(crate) fn args(&self, file: &str) -> PathBuf {
        self.data.join("args").join(file)
    }

    /// Returns the program that reads a file of arguments, if it can be asked what it takes. Up to 1.20 each part of Kubernetes is a
    /// program in the snap (`run-with-config-args`). Later they are all one, kubelite, which has flags of its own and none that only
    /// looks at the others (`cmd/kubelite/app/server.go` in MicroK8s' patches): to make it read a file is to start what the file is for.
    pub(crate) fn program(&self, file: &str) -> Option<PathBuf> {
        let is_asked = !self.is_kubelite && group(file) == Some(KUBERNETES);
        is_asked.then(|| self.snap().join(file))
    }

    /// Returns how a file of arguments is read. kubelite reads those of Kubernetes itself; bash reads all others.
    pub(crate) fn grammar(&self, file: &str) -> Grammar {
        if self.is_kubelite && file != KUBELITE && group(file) == Some(KUBERNETES) {
            Grammar::Kubelite
        } else {
            Grammar::Shell
        }
    }

    /// Returns the services of a group with the files that each reads at its start.
    pub(crate) fn services(&self, group: &str) -> BTreeMap<String, Vec<&'static str>> {
        let mut services: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (file, of) in FILES {
            let is_odd = !self.is_kubelite && file == KUBELITE;
            if of == group && !is_odd {
                services
                    .entry(service(self.is_kubelite, file))
                    .or_default()
                    .push(file);
            }
        }
        services
    }

    /// Reads and takes apart a file of arguments; `None` if it does not exist.
    pub(crate) fn read_args(
        &self,
        host: &Reader,
        file: &str,
    ) -> Result<Option<ArgsFile>, HostError> {
        let text = host.read_text(&self.args(file), LIMIT)?;
        Ok(text.map(|text| ArgsFile::parse(&text, self.grammar(file))))
    }

    /// Reads and takes apart what this release has for a file of arguments before anybody changes it; nothing if it has none.
    pub(crate) fn default_args(&self, host: &Reader, file: &str) -> Result<ArgsFile, HostError> {
        let revision = self.data.file_name().unwrap_or_default();
        let path = Path::new(SNAP_MOUNT)
            .join(revision)
            .join("default-args")
            .join(file);
        let text = host.read_text(&path, LIMIT)?.unwrap_or_default();
        Ok(ArgsFile::parse(&text, self.grammar(file)))
    }

    /// Returns what a file of arguments sets; nothing if it does not exist.
    pub(crate) fn flags(
        &self,
        host: &Reader,
        file: &str,
    ) -> Result<BTreeMap<String, Option<String>>, HostError> {
        let args = self.read_args(host, file)?;
        Ok(args.map(|args| args.flags()).unwrap_or_default())
    }

    /// Returns the kubeconfig of the administrator.
    pub(crate) fn kubeconfig(&self, host: &Reader) -> Result<Option<String>, HostError> {
        host.read_text(&self.data.join("credentials/client.config"), LIMIT)
    }
}

/// Returns the group of services that read a file of arguments.
pub(crate) fn group(file: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(known, _)| *known == file);
    found.map(|(_, group)| *group)
}

/// Returns all files of arguments.
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(file, _)| *file)
}

/// Returns all groups of services.
pub(crate) fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = FILES.iter().map(|(_, group)| *group).collect();
    groups.dedup();
    groups
}

/// Whether MicroK8s itself sets an argument at each start.
pub(crate) fn is_self_managed(file: &str, flag: &str) -> bool {
    SELF_MANAGED.contains(&(file, flag))
}

/// Returns the name of the service that reads a file: `daemon-…` as snapd names it.
pub(crate) fn service(is_kubelite: bool, file: &str) -> String {
    if is_kubelite && group(file) == Some(KUBERNETES) {
        return format!("daemon-{KUBELITE}");
    }
    let base = file.strip_suffix("-env").unwrap_or(file);
    format!("daemon-{}", base.strip_prefix("kube-").unwrap_or(base))
}
