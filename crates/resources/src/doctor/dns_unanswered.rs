//! The DNS server of the cluster does not answer.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::FindingRule,
    },
    host::{Pod, Service},
    microk8s::layout::Layout,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "dns-unanswered",
    fact: "the DNS server of the cluster does not answer",
    why: "Every pod asks it first for every name. Without it programs in pods reach neither each other nor the internet, and report an unknown name or a timeout.",
    criterion: "The Service kube-dns: it does not answer a query of this host (also from the address of the host in the pod network, if it has one), over UDP and TCP, within two seconds. Not checked if its pods became unready less than two minutes ago.",
    by_hand: &[
        "fix the other findings first: the policy of FORWARD, forwarding and rules can block it, too",
        "microk8s kubectl get pods --namespace kube-system   (whether CoreDNS runs)",
        "microk8s kubectl logs --namespace kube-system deployment/coredns",
    ],
    spec: &[],
};
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
const PORT: u16 = 53;
/// So long a pod may take until it is ready.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_mins(2);
/// What a cluster is called unless its kubelet says otherwise.
const DEFAULT_DOMAIN: &str = "cluster.local";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    let Some((layout, kubeconfig)) = context.control_plane()? else {
        return Ok(None);
    };
    let Some(service) = host.service(&kubeconfig, NAMESPACE, SERVICE).await? else {
        return Ok(None);
    };
    let Some(server) = address(&service) else {
        return Ok(None);
    };
    let pods = host.pods(&kubeconfig).await?;
    let pods = Pods::of(&service, &pods);
    if pods.may_be_starting(&service, Timestamp::now()) {
        return Err(CheckError("CoreDNS is starting".to_owned()));
    }
    let flags = layout.flags(host, "kubelet")?;
    let domain = flags.get("cluster-domain").cloned().flatten();
    let domain = domain.unwrap_or_else(|| DEFAULT_DOMAIN.to_owned());
    let name = format!("kubernetes.default.svc.{}", domain.trim_end_matches('.'));
    let mut evidence = vec![];
    let own = own_address(context, layout)?;
    for from in [None].into_iter().chain(own.map(Some)) {
        if let Err(fault) = host.query_name_server(server, &name, from).await {
            let who = match from {
                Some(from) => format!("from {from}, in the pod network"),
                None => "from this host".to_owned(),
            };
            evidence.push(format!("{server}, asked {who}: {fault}"));
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    evidence.push(pods.describe());
    Ok(Some(RULE.found(evidence)))
}

fn address(service: &Service) -> Option<SocketAddr> {
    let address: IpAddr = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, PORT))
}

/// Returns an address of this host in the network of pods.
fn own_address(context: &DoctorContext<'_>, layout: &Layout) -> Result<Option<IpAddr>, CheckError> {
    let args = layout.read_args(context.host, "kube-proxy")?;
    let flags = args.map(|args| args.flags()).unwrap_or_default();
    let networks = flags.get("cluster-cidr").cloned().flatten();
    let networks = networks.unwrap_or_default();
    let networks: Vec<IpNet> = networks
        .split(',')
        .filter_map(|network| network.trim().parse().ok())
        .collect();
    let addresses = context.host.addresses()?.into_iter();
    let mut own = addresses.map(|(_, address)| address).filter(|address| {
        address.is_ipv4() && networks.iter().any(|network| network.contains(address))
    });
    Ok(own.next())
}

/// The pods of a Service.
struct Pods<'a>(Vec<&'a Pod>);

impl<'a> Pods<'a> {
    fn of(service: &Service, pods: &'a [Pod]) -> Self {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let is_meant = |pod: &&Pod| {
            let has = |(key, value): (&String, &String)| {
                let labels = pod.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(key)) == Some(value)
            };
            pod.metadata.namespace == service.metadata.namespace
                && selector.is_some_and(|selector| selector.iter().all(has))
        };
        Self(pods.iter().filter(is_meant).collect())
    }

    /// Whether none is ready, and that only since a while ago.
    fn may_be_starting(&self, service: &Service, now: Timestamp) -> bool {
        let is_new = |since: Timestamp| now.duration_since(since) < STARTUP_GRACE;
        let made = |made: &Option<Time>| made.as_ref().map(|at| at.0);
        let since = |pod: &Pod| {
            let since = readiness(pod).and_then(|(_, since)| since);
            since.or(made(&pod.metadata.creation_timestamp))
        };
        if self.0.is_empty() {
            return made(&service.metadata.creation_timestamp).is_some_and(is_new);
        }
        let mut pods = self.0.iter();
        !pods.clone().any(|pod| is_ready(pod)) && pods.any(|pod| since(pod).is_some_and(is_new))
    }

    fn describe(&self) -> String {
        if self.0.is_empty() {
            return "it has no pod".to_owned();
        }
        let pods = self.0.iter().map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let is = if is_ready(pod) {
                "is ready"
            } else {
                "is not ready"
            };
            format!("{name} {is}")
        });
        pods.collect::<Vec<_>>().join(", ")
    }
}

fn is_ready(pod: &Pod) -> bool {
    readiness(pod).is_some_and(|(is, _)| is)
}

/// Whether a pod is ready, and since when it is so.
fn readiness(pod: &Pod) -> Option<(bool, Option<Timestamp>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref().map(|at| at.0);
    Some((ready.status == "True", since))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        let service = json!({
            "metadata": {"namespace": NAMESPACE, "name": SERVICE, "creationTimestamp": "2026-06-01T11:50:00Z"},
            "spec": {"clusterIP": "10.152.183.10", "selector": {"k8s-app": "kube-dns"}},
        });
        serde_json::from_value(service).unwrap()
    }

    fn pod(app: &str, ready: &str, since: &str) -> Pod {
        let pod = json!({
            "metadata": {"namespace": NAMESPACE, "name": "coredns-1", "labels": {"k8s-app": app}},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn check(pod: Pod, is_starting: bool, told: &str) {
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        let pods = [pod];
        let pods = Pods::of(&service(), &pods);
        assert_eq!(pods.may_be_starting(&service(), now), is_starting, "{told}");
        assert_eq!(pods.describe(), told);
    }

    #[test]
    fn dns_pod_without_time_to_start_is_not_reported() {
        let (new, old) = ("2026-06-01T11:59:00Z", "2026-06-01T11:50:00Z");
        check(
            pod("kube-dns", "False", new),
            true,
            "coredns-1 is not ready",
        );
        check(
            pod("kube-dns", "False", old),
            false,
            "coredns-1 is not ready",
        );
        check(pod("kube-dns", "True", new), false, "coredns-1 is ready");
        check(pod("other", "False", new), false, "it has no pod");
        let at = |now: &str| Pods(vec![]).may_be_starting(&service(), now.parse().unwrap());
        assert!(at("2026-06-01T11:51:00Z") && !at("2026-06-01T11:53:00Z"));
    }

    #[test]
    fn headless_service_has_no_address() {
        let server = address(&service()).map(|server| server.to_string());
        assert_eq!(server.as_deref(), Some("10.152.183.10:53"));
        let mut headless = service();
        headless.spec.as_mut().unwrap().cluster_ip = Some("None".to_owned());
        assert_eq!(address(&headless), None);
    }
}
