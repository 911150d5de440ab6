//! Pods and Services, with only the fields that are read here: their complete types would be a tenth of
//! this program.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time};
use kube::core::{ApiResource, NotUsed, Object};
use serde::Deserialize;

/// A pod.
pub(crate) type Pod = Object<Option<PodSpec>, PodStatus>;

/// A Service.
pub(crate) type Service = Object<Option<ServiceSpec>, NotUsed>;

/// What a pod is to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec {
    /// The node that it is on, once it has one.
    pub(crate) node_name: Option<String>,
    /// What it asks for as a whole.
    pub(crate) resources: Option<ResourceRequirements>,
    /// What runs before its containers, or beside them from then on.
    pub(crate) init_containers: Option<Vec<Container>>,
    /// What it runs.
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    /// What it asks for.
    pub(crate) resources: Option<ResourceRequirements>,
    /// `Always`: it runs on beside those that come after it.
    pub(crate) restart_policy: Option<String>,
}

/// What a pod or a container asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ResourceRequirements {
    /// By resource: `memory`.
    pub(crate) requests: Option<BTreeMap<String, Quantity>>,
}

/// How a pod is.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub(crate) phase: Option<String>,
    /// What is true of it.
    pub(crate) conditions: Option<Vec<PodCondition>>,
}

/// Whether something is true of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodCondition {
    /// What: `Ready`.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// Since when.
    pub(crate) last_transition_time: Option<Time>,
}

/// What a Service is to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    /// Its address in the cluster, or `None`.
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<String>,
    /// The labels of its pods.
    pub(crate) selector: Option<BTreeMap<String, String>>,
}

/// Names a kind of the core of Kubernetes.
pub(super) fn core_resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
