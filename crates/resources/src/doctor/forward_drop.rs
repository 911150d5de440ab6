//! Pods lose DNS and each other: the policy of FORWARD is DROP.

use stead_engine::finding::Finding;

use super::{Hidden, Look, Patient, program};
use crate::netfilter::{Column, Family, Tables};

pub(super) const NAME: &str = "forward-drop";

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    if patient.microk8s()?.is_none() {
        return Ok(None);
    }
    let dropping = dropping(patient).await?;
    if dropping.is_empty() {
        return Ok(None);
    }
    let programs = dropping.iter().map(|column| program(*column));
    Ok(Some(Finding {
        name: NAME,
        fact: "packets that no rule accepts are not forwarded".to_owned(),
        evidence: programs.clone().map(|program| format!("{program} -S FORWARD: -P FORWARD DROP")).collect(),
        why: "Packets between pods, and from pods to the DNS server, are forwarded by this host. With this policy only those go through that a rule accepts, \
              so pods cannot resolve names or reach each other, and nothing says why. Docker sets it when it turns forwarding on."
            .to_owned(),
        by_hand: programs.map(|program| format!("{program} -P FORWARD ACCEPT   (until the next boot or the next start of Docker)")).collect(),
        spec: vec!["iptables-policy \"filter/FORWARD\" \"ACCEPT\"".to_owned()],
    }))
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
