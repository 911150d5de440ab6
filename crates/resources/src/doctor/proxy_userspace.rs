//! kube-proxy copies every packet through a userspace process.

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::kube_proxy,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "proxy-userspace",
    fact: "kube-proxy runs in the slow userspace mode",
    why: "In this mode a process copies each connection to a Service. In the iptables mode the kernel forwards it: about twice the requests per second.",
    criterion: "The running kube-proxy answers `userspace` at /proxyMode.",
    by_hand: &[
        "write `--proxy-mode=iptables` into /var/snap/microk8s/current/args/kube-proxy, and restart MicroK8s",
    ],
    spec: &["kube-args \"kube-proxy\" {\n    proxy-mode \"iptables\"\n}"],
};

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    if kube_proxy::mode(context.host, layout).await?.as_deref() != Some("userspace") {
        return Ok(None);
    }
    Ok(Some(RULE.found(vec![
        "the running kube-proxy answers `userspace` at /proxyMode".to_owned(),
    ])))
}
