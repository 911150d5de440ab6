//! The API server of this host, by the crate `kube`. A reader only asks; a writer keeps one record and deletes by number.

pub(crate) mod object;
pub(crate) mod pods;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, Config, Error,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
    },
    config::{KubeConfigOptions, Kubeconfig},
    core::{GroupVersion, PartialObjectMeta},
    discovery::{pinned_group, verbs},
};
use serde_json::json;

use crate::host::{
    HostError, Reader, Writer,
    kubernetes::{
        object::{ClusterObject, ObjectIdentity},
        pods::{Pod, Service, core_resource},
    },
};

/// How long the API server may take for one answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// How many questions are asked at once.
const MAX_CONCURRENT: usize = 8;
/// What `kubectl apply` notes on what it made.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What the API server notes on what it keeps up by itself.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// What Kubernetes makes for every service account, until 1.23.
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// What makes an account for each of its own parts, when that first runs.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// Kinds that programs of the cluster make and change by themselves all the time.
const VOLATILE_KINDS: [&str; 11] = [
    "events",
    "endpoints",
    "endpointslices",
    "leases",
    "componentstatuses",
    "nodes",
    "csinodes",
    "controllerrevisions",
    "flowschemas",
    "prioritylevelconfigurations",
    "persistentvolumes",
];
/// Who changes things for stead, as the API server notes it.
const FIELD_MANAGER: &str = "stead";

impl Reader {
    /// Makes a client from the text of a kubeconfig. It could change things too, so nobody else gets it.
    async fn cluster_client(&self, kubeconfig: &str) -> Result<Client, HostError> {
        client(kubeconfig).await
    }

    /// Asks the API server for a path such as `/readyz`.
    pub async fn cluster_get(&self, kubeconfig: &str, path: &str) -> Result<String, HostError> {
        let request = hyper::Request::get(path)
            .body(vec![])
            .map_err(|error| api_error(&error))?;
        let client = self.cluster_client(kubeconfig).await?;
        let said = client
            .request_text(request)
            .await
            .map_err(|error| api_error(&error))?;
        let place = || format!("the API server, GET {path}");
        self.trace.record(place, Some(said.as_bytes()));
        Ok(said)
    }

    /// Names what is in the cluster, sorted, once in the moment that this reader is; without what changes by itself all the time.
    pub async fn cluster_objects(
        &self,
        kubeconfig: &str,
    ) -> Result<Arc<[ClusterObject]>, HostError> {
        let asked = self.cluster_objects.get_or_try_init(async || {
            let place = || "the API server, names of the objects of all kinds".to_owned();
            self.trace.record(place, None);
            let client = self.cluster_client(kubeconfig).await?;
            let mut objects = list_objects(&client)
                .await
                .map_err(|error| api_error(&error))?;
            mark_terminating(&mut objects);
            objects.sort_by(|one, other| one.identity.cmp(&other.identity));
            Ok(objects.into())
        });
        asked.await.cloned()
    }

    /// Returns the texts of a `ConfigMap`; `None` if there is none.
    pub async fn config_map(
        &self,
        kubeconfig: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, HostError> {
        let place = || format!("the API server, ConfigMap {namespace}/{name}");
        self.trace.record(place, None);
        let client = self.cluster_client(kubeconfig).await?;
        let map = config_maps(client, namespace).get_opt(name).await;
        let Some(mut map) = map.map_err(|error| api_error(&error))? else {
            return Ok(None);
        };
        let texts = map.data["data"].take();
        let texts: Option<_> = serde_json::from_value(texts).map_err(|error| api_error(&error))?;
        Ok(Some(texts.unwrap_or_default()))
    }
}

impl Reader {
    /// Returns all pods of the cluster.
    pub(crate) async fn pods(&self, kubeconfig: &str) -> Result<Vec<Pod>, HostError> {
        let client = self.cluster_client(kubeconfig).await?;
        let pods: Api<Pod> = Api::all_with(client, &core_resource("Pod", "pods"));
        let list = pods.list(&ListParams::default()).await;
        Ok(list.map_err(|error| api_error(&error))?.items)
    }

    /// Returns a `Service`; `None` if there is none.
    pub(crate) async fn service(
        &self,
        kubeconfig: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Service>, HostError> {
        let client = self.cluster_client(kubeconfig).await?;
        let kind = core_resource("Service", "services");
        let services: Api<Service> = Api::namespaced_with(client, namespace, &kind);
        services
            .get_opt(name)
            .await
            .map_err(|error| api_error(&error))
    }
}

impl Writer {
    /// Makes a `ConfigMap` have these texts and no others.
    pub async fn apply_config_map(
        &self,
        kubeconfig: &str,
        namespace: &str,
        name: &str,
        data: &BTreeMap<String, String>,
    ) -> Result<(), HostError> {
        let maps = config_maps(client(kubeconfig).await?, namespace);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        maps.patch(name, &parameters, &Patch::Apply(map))
            .await
            .map(drop)
            .map_err(|error| api_error(&error))
    }

    /// Removes a `ConfigMap`, if it is there.
    pub async fn remove_config_map(
        &self,
        kubeconfig: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), HostError> {
        let maps = config_maps(client(kubeconfig).await?, namespace);
        match maps.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(api_error(&error)),
        }
    }

    /// Deletes this very object and what it owns. One that is gone, or another of its name, is no error.
    pub async fn delete_object(
        &self,
        kubeconfig: &str,
        identity: &ObjectIdentity,
    ) -> Result<(), HostError> {
        let client = client(kubeconfig).await?;
        let resource = identity.api_resource();
        let objects: Api<DynamicObject> = match &identity.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let this = Preconditions {
            uid: Some(identity.uid.clone()),
            resource_version: None,
        };
        let parameters = DeleteParams::background().preconditions(this);
        match objects.delete(&identity.name, &parameters).await {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(api_error(&error)),
        }
    }
}

fn config_maps(client: Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client, namespace, &core_resource("ConfigMap", "configmaps"))
}

async fn client(kubeconfig: &str) -> Result<Client, HostError> {
    let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(|error| api_error(&error))?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|error| api_error(&error))?;
    config.connect_timeout = Some(DEADLINE);
    config.read_timeout = Some(DEADLINE);
    Client::try_from(config).map_err(|error| api_error(&error))
}

/// Where the API server says that it serves all that it has; before, it names some of its groups only.
const READY: &str = "/readyz";
/// Groups that the API server has itself, apart from those below `k8s.io`.
const OWN_GROUPS: [&str; 6] = ["", "apps", "autoscaling", "batch", "extensions", "policy"];
/// Groups below it that another server has: that of the metrics.
const METRICS: &str = "metrics.k8s.io";

async fn list_objects(client: &Client) -> Result<Vec<ClusterObject>, Error> {
    let request = hyper::Request::get(READY).body(vec![]);
    let request = request.expect("the path is fixed");
    client.request_text(request).await?;
    let core = ApiVersion {
        group: String::new(),
        version: "v1".to_owned(),
    };
    let groups = client.list_api_groups().await?.groups;
    let preferred = groups.into_iter().filter_map(|group| {
        let version = group.preferred_version.or(group.versions.first().cloned());
        Some(ApiVersion {
            group: group.name,
            version: version?.version,
        })
    });
    let asked = stream::iter(preferred.chain([core]))
        .map(|version| listable_resources(client, version))
        .buffer_unordered(MAX_CONCURRENT);
    let resources: Vec<Vec<ApiResource>> = asked.try_collect().await?;
    let asked = stream::iter(resources.into_iter().flatten())
        .map(|resource| list_kind(client, resource))
        .buffer_unordered(MAX_CONCURRENT);
    let objects: Vec<Vec<ClusterObject>> = asked.try_collect().await?;
    Ok(objects.into_iter().flatten().collect())
}

struct ApiVersion {
    group: String,
    version: String,
}

/// Returns what a group has that can be listed. A group that an addon serves may be away for a while; nothing is kept there.
async fn listable_resources(
    client: &Client,
    version: ApiVersion,
) -> Result<Vec<ApiResource>, Error> {
    let found = pinned_group(client, &GroupVersion::gv(&version.group, &version.version)).await;
    let is_own = OWN_GROUPS.contains(&version.group.as_str())
        || version.group.ends_with(".k8s.io") && !version.group.ends_with(METRICS);
    let group = match found {
        Err(Error::Api(status)) if !is_own && status.code == 503 => return Ok(vec![]),
        found => found?,
    };
    let resources = group.recommended_resources().into_iter();
    Ok(resources
        .filter(|(resource, can)| {
            can.supports_operation(verbs::LIST)
                && !VOLATILE_KINDS.contains(&resource.plural.as_str())
        })
        .map(|(resource, _)| resource)
        .collect())
}

async fn list_kind(client: &Client, resource: ApiResource) -> Result<Vec<ClusterObject>, Error> {
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let list = match all.list_metadata(&ListParams::default()).await {
        // It was taken away just now, or cannot be listed after all.
        Err(Error::Api(status)) if matches!(status.code, 404 | 405) => return Ok(vec![]),
        list => list?,
    };
    let objects = list.items.into_iter();
    Ok(objects
        .filter(|object| !is_controller_managed(&resource.kind, object))
        .map(|object| ClusterObject {
            identity: ObjectIdentity {
                group: resource.group.clone(),
                version: resource.version.clone(),
                kind: resource.kind.clone(),
                plural: resource.plural.clone(),
                namespace: object.metadata.namespace,
                name: object.metadata.name.unwrap_or_default(),
                uid: object.metadata.uid.unwrap_or_default(),
            },
            is_owned: object
                .metadata
                .owner_references
                .is_some_and(|owners| !owners.is_empty()),
            is_terminating: object.metadata.deletion_timestamp.is_some(),
            labels: object.metadata.labels.unwrap_or_default(),
            created_by: object
                .metadata
                .managed_fields
                .and_then(|fields| fields.into_iter().next()?.manager),
            last_applied: object
                .metadata
                .annotations
                .and_then(|mut notes| notes.remove(LAST_APPLIED))
                .filter(|_| resource.kind != "Secret"),
        })
        .collect())
}

/// What is in a namespace that is going goes too, and is not marked itself for a while.
fn mark_terminating(objects: &mut [ClusterObject]) {
    let going: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.is_terminating && object.identity.kind == "Namespace")
        .map(|object| object.identity.name.clone())
        .collect();
    for object in objects {
        let namespace = object.identity.namespace.as_ref();
        object.is_terminating |= namespace.is_some_and(|namespace| going.contains(namespace));
    }
}

/// Whether Kubernetes made it by itself, for a namespace, a service account or a group.
fn is_controller_managed(kind: &str, object: &PartialObjectMeta<DynamicObject>) -> bool {
    let has = |map: &Option<BTreeMap<String, String>>, key| {
        map.as_ref().is_some_and(|map| map.contains_key(key))
    };
    let name = object.metadata.name.as_deref();
    let fields = object.metadata.managed_fields.as_ref();
    let maker = fields.and_then(|fields| fields.first()?.manager.as_deref());
    has(&object.metadata.labels, AUTOMANAGED)
        || has(&object.metadata.annotations, SERVICE_ACCOUNT_NAME)
        || matches!(name, Some("kube-root-ca.crt"))
        || (kind == "ServiceAccount" && name == Some("default"))
        || (kind == "ServiceAccount" && maker == Some(CONTROLLER_MANAGER))
}

fn api_error(error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Service {
        service: "the API server".to_owned(),
        fault: stead_engine::model::error_chain::error_chain(error).join(": "),
    }
}
