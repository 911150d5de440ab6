//! The pods request more memory than this host has.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::{Finding, FindingRule},
    },
    host::{Container, Pod, ResourceRequirements},
    kernel::meminfo::{MEMINFO, Memory},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "memory-short",
    fact: "pods request more memory than this host has",
    why: "Kubernetes does not start a pod that requests more than is left, but reserves nothing for MicroK8s itself. When memory runs out, pods are killed or the host stops responding.",
    criterion: "The memory requests of the unfinished pods of this node, by the API server, and 540 MB for MicroK8s itself, against MemTotal in /proc/meminfo. Swap does not count: pods cannot use it.",
    by_hand: &[
        "microk8s disable ADDON   (one that you do not need; `microk8s kubectl get pods -A` lists the pods)",
        "add memory to this host",
    ],
    spec: &[],
};
/// What MicroK8s needs at least, by its own documentation: <https://microk8s.io/docs/getting-started>.
const MICROK8S_MEMORY: u64 = 540_000_000;
/// So many of those that ask for most are named.
const MAX_NAMED: usize = 5;
/// The name of this node, unless its kubelet says otherwise.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// The largest file of /proc that is read, in bytes.
const LIMIT: u64 = 64 << 10;

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    let Some((layout, kubeconfig)) = context.control_plane()? else {
        return Ok(None);
    };
    let Some(memory) = Memory::read(host)? else {
        return Ok(None);
    };
    let flags = layout.flags(host, "kubelet")?;
    let name = match flags.get("hostname-override").cloned().flatten() {
        Some(name) => name,
        None => host
            .read_text(Path::new(HOSTNAME), LIMIT)?
            .unwrap_or_default(),
    };
    let pods = host.pods(&kubeconfig).await?;
    Ok(evaluate(&pods, &name.trim().to_lowercase(), memory))
}

fn evaluate(pods: &[Pod], node: &str, memory: Memory) -> Option<Finding> {
    let of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let is_here = |pod: &&Pod| of(pod).as_deref() == Some(node);
    let is_alone = pods.iter().filter_map(of).all(|name| name == node);
    // One that waits for a node waits for this one only if there is no other.
    let waits = |pod: &&Pod| is_alone && of(pod).is_none();
    let asked = pods.iter().filter(|pod| is_here(pod) || waits(pod));
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for pod in asked {
        let name = [&pod.metadata.namespace, &pod.metadata.name];
        let name: Vec<_> = name.into_iter().flatten().map(String::as_str).collect();
        by_name.insert(name.join("/"), memory_request(pod)?);
    }
    let sum = by_name
        .values()
        .fold(0, |sum: u64, one| sum.saturating_add(*one));
    if sum.saturating_add(MICROK8S_MEMORY) <= memory.total {
        return None;
    }
    let mut largest: Vec<_> = by_name
        .into_iter()
        .filter(|(_, asked)| *asked > 0)
        .collect();
    largest.sort_by_key(|(_, asked)| std::cmp::Reverse(*asked));
    largest.truncate(MAX_NAMED);
    let largest: Vec<_> = largest
        .iter()
        .map(|(name, asked)| format!("{name} {} MiB", asked >> 20))
        .collect();
    Some(RULE.found(vec![
        format!(
            "pods request {} MiB, most of it {}; MicroK8s itself needs {} MiB",
            sum >> 20,
            largest.join(", "),
            MICROK8S_MEMORY >> 20
        ),
        format!(
            "{MEMINFO}: this host has {} MiB of memory, and {} MiB of swap",
            memory.total >> 20,
            memory.swap >> 20
        ),
    ]))
}

/// Returns how much memory a pod asks for, as the scheduler counts it: its containers together, or what one that runs before them needs, if
/// that is more. `None` if a number cannot be read.
fn memory_request(pod: &Pod) -> Option<u64> {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Some(0);
    }
    let spec = pod.spec.as_ref()?;
    let memory = |resources: Option<&ResourceRequirements>| {
        let requests = resources?.requests.as_ref()?;
        requests.get("memory").map(parse_bytes)
    };
    // One that asks as a whole asks for nothing else.
    if let Some(whole) = memory(spec.resources.as_ref()) {
        return whole;
    }
    let asks = |container: &Container| memory(container.resources.as_ref()).unwrap_or(Some(0));
    let mut lasting = 0_u64;
    let mut before = 0_u64;
    for container in spec.init_containers.iter().flatten() {
        let asked = asks(container)?;
        before = before.max(lasting.saturating_add(asked));
        if container.restart_policy.as_deref() == Some("Always") {
            lasting = lasting.saturating_add(asked);
        }
    }
    for container in &spec.containers {
        lasting = lasting.saturating_add(asks(container)?);
    }
    Some(lasting.max(before))
}

/// Reads a quantity of bytes, rounded down: `quantity.go` of Kubernetes.
fn parse_bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.as_str();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let factor: u128 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        // Thousandths, which some programs write.
        "m" => return whole.parse::<u64>().ok().map(|milli| milli / 1_000),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_u128.checked_pow(power)?
        }
    };
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    u64::try_from(digits.checked_mul(factor)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("128974848", Some(128_974_848)),
            ("1.5Gi", Some(1_610_612_736)),
            ("70Mi", Some(73_400_320)),
            ("129M", Some(129_000_000)),
            ("129e6", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("0", Some(0)),
            ("many", None),
            ("1 Gi", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(&Quantity(text.to_owned())), expected, "{text}");
        }
    }

    fn pod(node: Option<&str>, phase: &str, first: &Value, containers: &[&str]) -> Pod {
        let containers = containers.iter();
        let containers = containers
            .map(|memory| json!({"name": "c", "resources": {"requests": {"memory": memory}}}));
        let pod = json!({
            "metadata": {"namespace": "a", "name": format!("{phase}-{}", node.unwrap_or("none"))},
            "spec": {"nodeName": node, "initContainers": first, "containers": containers.collect::<Vec<_>>()},
            "status": {"phase": phase},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn pod_request_is_counted_like_the_scheduler() {
        let first = |memory: &str, policy: Value| json!([{"name": "i", "restartPolicy": policy, "resources": {"requests": {"memory": memory}}}]);
        let asked = |pod: &Pod| memory_request(pod).unwrap();
        let none = json!(null);
        assert_eq!(asked(&pod(None, "Running", &none, &["1k", "2k"])), 3_000);
        let once = first("5k", json!(null));
        assert_eq!(asked(&pod(None, "Running", &once, &["1k", "2k"])), 5_000);
        let sidecar = first("5k", json!("Always"));
        assert_eq!(asked(&pod(None, "Running", &sidecar, &["1k"])), 6_000);
        assert_eq!(asked(&pod(None, "Succeeded", &none, &["1k"])), 0);
    }

    #[test]
    fn memory_short_counts_only_pods_of_this_host() {
        let memory = Memory {
            total: 4 << 30,
            swap: 1 << 30,
        };
        let none = json!(null);
        let here = pod(Some("here"), "Running", &none, &["3Gi"]);
        let waiting = pod(None, "Pending", &none, &["2Gi"]);
        let there = pod(Some("there"), "Running", &none, &["9Gi"]);
        let odd = pod(Some("here"), "Running", &none, &["9x"]);
        let found = |pods: &[Pod]| evaluate(pods, "here", memory).map(|found| found.evidence);
        assert_eq!(found(std::slice::from_ref(&here)), None);
        assert_eq!(found(&[here.clone(), waiting.clone(), there]), None);
        assert_eq!(found(&[here.clone(), waiting.clone(), odd]), None);
        assert_eq!(
            found(&[here, waiting]).unwrap(),
            [
                "pods request 5120 MiB, most of it a/Running-here 3072 MiB, a/Pending-none 2048 MiB; MicroK8s itself needs 514 MiB",
                "/proc/meminfo: this host has 4096 MiB of memory, and 1024 MiB of swap"
            ]
        );
    }
}
