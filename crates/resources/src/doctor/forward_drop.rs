//! Pods lose DNS and each other: the policy of FORWARD is DROP.

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext, program_name},
        finding::FindingRule,
    },
    netfilter::{Family, SavedTables, TableVariant, Tables, known_writers},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "forward-drop",
    fact: "the policy of FORWARD drops packets of pods",
    why: "This host forwards the packets between pods, and from pods to the DNS server. With this policy only packets that a rule accepts pass, so pods cannot resolve names or reach each other, and no log says why. Docker sets it when it enables forwarding, and ufw unless it allows routed packets.",
    criterion: "Where MicroK8s runs: the policy of FORWARD for IPv4 is DROP, in either back end of iptables.",
    by_hand: &[
        "PROGRAM -P FORWARD ACCEPT   (until the next boot or the next start of Docker)",
        "ufw default allow routed   (ufw remembers it)",
    ],
    spec: &["iptables-policy \"filter/FORWARD\" \"ACCEPT\""],
};

/// Who has a way of its own to say otherwise.
const UFW: &str = "ufw";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    if context.microk8s()?.is_none() {
        return Ok(None);
    }
    let dropping = forward_drops(context).await?;
    if dropping.is_empty() {
        return Ok(None);
    }
    let programs: Vec<_> = dropping
        .iter()
        .map(|(column, _)| program_name(*column))
        .collect();
    let is_ufws = dropping.iter().any(|(_, actors)| actors.contains(&UFW));
    let evidence = dropping.iter().map(|(column, actors)| {
        let by = match actors.as_slice() {
            [] => String::new(),
            actors => format!(", which {} sets", actors.join(" or ")),
        };
        format!("{} -S FORWARD: -P FORWARD DROP{by}", program_name(*column))
    });
    let mut finding = RULE.found(evidence.collect());
    if !is_ufws {
        finding.by_hand.retain(|way| !way.starts_with(UFW));
    }
    Ok(Some(finding.substitute("PROGRAM", &programs)))
}

/// Returns the columns of IPv4 in which FORWARD drops what no rule decides about, each with those at work there who set that.
async fn forward_drops(
    context: &DoctorContext<'_>,
) -> Result<Vec<(TableVariant, Vec<&'static str>)>, CheckError> {
    let tables = super::forward_refused::tables(context).await?;
    let drops = |(column, saved): (TableVariant, &SavedTables)| {
        let chain = saved.chain("filter", "FORWARD")?;
        let is_so = column.family == Family::Ipv4 && chain.policy.as_deref() == Some("DROP");
        is_so.then(|| {
            let actors = known_writers::all_of_policy(saved, "filter", "FORWARD");
            (column, actors.collect())
        })
    };
    Ok(Tables::readable(&tables).filter_map(drops).collect())
}
