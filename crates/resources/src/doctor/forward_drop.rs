//! Pods lose DNS and each other: the policy of FORWARD is DROP.

use stead_engine::finding::Ailment;

use super::{Hidden, Look, Patient, program};
use crate::netfilter::{Column, Family, Tables};

pub(super) const AILMENT: Ailment = Ailment {
    name: "forward-drop",
    fact: "packets that no rule accepts are not forwarded",
    why: "Packets between pods, and from pods to the DNS server, are forwarded by this host. With this policy only those go \
          through that a rule accepts, so pods cannot resolve names or reach each other, and nothing says why. Docker sets it \
          when it turns forwarding on.",
    looks_at: "Where MicroK8s runs: the policy of FORWARD for IPv4, in both back ends of iptables, is DROP.",
    by_hand: &["PROGRAM -P FORWARD ACCEPT   (until the next boot or the next start of Docker)"],
    spec: &["iptables-policy \"filter/FORWARD\" \"ACCEPT\""],
};

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let dropping = dropping(patient).await?;
    if dropping.is_empty() {
        return Ok(None);
    }
    let programs: Vec<_> = dropping.iter().map(|column| program(*column)).collect();
    let evidence = programs
        .iter()
        .map(|program| format!("{program} -S FORWARD: -P FORWARD DROP"));
    Ok(Some(
        AILMENT.seen(evidence.collect()).with("PROGRAM", &programs),
    ))
}

/// Returns the columns of IPv4 in which FORWARD drops what no rule decides about.
async fn dropping(patient: &Patient<'_>) -> Result<Vec<Column>, Hidden> {
    let tables = super::forward_refused::tables(patient).await?;
    let drops = |(column, saved): (Column, &crate::netfilter::Saved)| {
        let chain = saved.chain("filter", "FORWARD")?;
        let is_so = column.family == Family::Ipv4 && chain.policy.as_deref() == Some("DROP");
        is_so.then_some(column)
    };
    Ok(Tables::seen(&tables).filter_map(drops).collect())
}
