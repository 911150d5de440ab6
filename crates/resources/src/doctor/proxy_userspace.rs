//! kube-proxy copies every packet through a userspace process.

use crate::{
    doctor::{
        context::{Look, Patient},
        finding::Ailment,
    },
    microk8s::kube_proxy,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "proxy-userspace",
    fact: "kube-proxy runs in the slow userspace mode",
    why: "In this mode a process copies each connection to a Service. In the iptables mode the kernel forwards it: about twice the requests per second.",
    looks_at: "The running kube-proxy answers `userspace` at /proxyMode.",
    by_hand: &[
        "write `--proxy-mode=iptables` into /var/snap/microk8s/current/args/kube-proxy, and restart MicroK8s",
    ],
    spec: &["kube-args \"kube-proxy\" {\n    proxy-mode \"iptables\"\n}"],
};

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    if kube_proxy::mode(patient.host, layout).await?.as_deref() != Some("userspace") {
        return Ok(None);
    }
    Ok(Some(AILMENT.seen(vec![
        "the running kube-proxy answers `userspace` at /proxyMode".to_owned(),
    ])))
}
