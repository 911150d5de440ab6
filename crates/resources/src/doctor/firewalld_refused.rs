//! firewalld rejects the packets of pods in its own table.

use std::collections::BTreeMap;

use super::forward_refused::tables;
use crate::doctor::context::{CheckResult, DoctorContext};
use crate::{doctor::finding::FindingRule, host::ReadOnlyCommand};

pub(super) const RULE: FindingRule = FindingRule {
    name: "firewalld-refused",
    fact: "firewalld rejects the packets of pods",
    why: "firewalld has its own table in nftables beside those of iptables, and a packet must pass all of them. A packet that no zone accepts is rejected there, whatever the rules of iptables accept, so pods cannot reach each other or the DNS server.",
    criterion: "Where MicroK8s runs: firewalld is active, its chain filter_FORWARD ends with a reject or drop, and no rule before it can accept a packet from one pod to another.",
    by_hand: &[
        "firewall-cmd --permanent --zone=trusted --add-source=NETWORK && firewall-cmd --reload",
    ],
    spec: &[],
};

/// The unit of firewalld.
const UNIT: &str = "firewalld.service";
/// How its table begins in the list of all.
const TABLE: &str = "table inet firewalld {";
/// Its chain for packets that are forwarded, and how the names of those begin to which that jumps.
const CHAIN: &str = "filter_FORWARD";
const SUBCHAIN_PREFIX: &str = "filter_FWD_";
/// How the names of network devices of pods begin.
const POD_DEVICES: [&str; 6] = ["cali", "cni", "vxlan", "flannel", "lxc", "cilium"];
/// How rules begin that accept no packet which begins a connection of pods.
const HARMLESS: [&str; 3] = ["ct state ", "ct status dnat ", "iifname \"lo\" "];
/// The network of pods unless kube-proxy is told another.
const DEFAULT_POD_CIDR: &str = "10.1.0.0/16";

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let host = context.host;
    if !host.has_systemd()? || host.unit(UNIT).await?.active_state != "active" {
        return Ok(None);
    }
    // Whoever sees those of iptables sees all.
    drop(tables(context).await?);
    let rules = host.query(ReadOnlyCommand::NftList).await?;
    let rules = String::from_utf8_lossy(&rules);
    let Some(refusal) = refusal(&rules) else {
        return Ok(None);
    };
    let args = layout.read_args(host, "kube-proxy")?;
    let networks = args.and_then(|args| args.flags().get("cluster-cidr").cloned().flatten());
    let networks = networks.unwrap_or_else(|| DEFAULT_POD_CIDR.to_owned());
    let networks: Vec<_> = networks.split(',').collect();
    let evidence = format!(
        "nft list chain inet firewalld {CHAIN}: the last rule is `{refusal}`, and no rule before it accepts packets from one pod to another"
    );
    Ok(Some(
        RULE.found(vec![evidence]).substitute("NETWORK", &networks),
    ))
}

/// Returns the rule of firewalld that refuses packets between pods; `None` if another may accept them before.
fn refusal(ruleset: &str) -> Option<&str> {
    let chains = chains(ruleset);
    let last = *chains.get(CHAIN)?.last()?;
    let is_refusal = last == "drop" || last.starts_with("reject");
    let mut forwarding = chains
        .iter()
        .filter(|(name, _)| name.starts_with(CHAIN) || name.starts_with(SUBCHAIN_PREFIX))
        .flat_map(|(_, rules)| rules);
    let accepts = forwarding.any(|rule| may_accept_pods(rule));
    (is_refusal && !accepts).then_some(last)
}

/// Whether a rule accepts something, and could do so for a packet from one pod to another.
fn may_accept_pods(rule: &str) -> bool {
    if rule.rsplit(' ').next() != Some("accept") {
        return false;
    }
    // What stands in quotes is the name of a device, or how those begin that are meant.
    let mut devices = rule.split('"').skip(1).step_by(2).peekable();
    let is_of_devices = rule.contains("ifname ") && devices.peek().is_some();
    let is_of_pods = |device: &str| {
        device.contains('*') || POD_DEVICES.iter().any(|begin| device.starts_with(begin))
    };
    let is_elsewhere = is_of_devices && !devices.any(is_of_pods);
    !is_elsewhere && !HARMLESS.iter().any(|begin| rule.starts_with(begin))
}

/// Returns the rules of firewalld by the names of their chains.
fn chains(ruleset: &str) -> BTreeMap<&str, Vec<&str>> {
    let lines = ruleset.lines().skip_while(|line| !line.starts_with(TABLE));
    let mut chains: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut chain = None;
    for line in lines.take_while(|line| *line != "}").map(str::trim) {
        if let Some(begun) = line.strip_prefix("chain ") {
            chain = begun.strip_suffix(" {");
        } else if line == "}" {
            chain = None;
        } else if let Some(chain) = chain
            && !line.starts_with("type ")
        {
            chains.entry(chain).or_default().push(line);
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "table ip filter {\n\tchain FORWARD {\n\t\taccept\n\t}\n}\n\
        table inet firewalld {\n\tchain filter_INPUT {\n\t\taccept\n\t}\n\n\tchain filter_FORWARD {\n\
        \t\ttype filter hook forward priority filter + 10; policy accept;\n\
        \t\tct state { established, related } accept\n\t\tct status dnat accept\n\t\tiifname \"lo\" accept\n\
        \t\tct state invalid drop\n\t\tjump filter_FORWARD_POLICIES\n\t\treject with icmpx admin-prohibited\n\t}\n\n\
        \tchain filter_FWD_public_allow {\n\t}\n}\ntable inet other {\n\tchain filter_FWD_x {\n\t\taccept\n\t}\n}\n";

    #[test]
    fn refusal_requires_that_no_rule_accepts_pods() {
        let check = |rule: &str, is_refused: bool| {
            let begin = "chain filter_FWD_public_allow {\n";
            let rules = RULES.replace(begin, &format!("{begin}\t\t{rule}\n"));
            let expected = is_refused.then_some("reject with icmpx admin-prohibited");
            assert_eq!(refusal(&rules), expected, "{rule}");
        };
        check("oifname \"eth0\" accept", true);
        check("oifname { \"eth0\", \"wlan0\" } accept", true);
        check("tcp dport 22 reject", true);
        check("accept", false);
        check("oifname \"cali*\" accept", false);
        check("oifname { \"eth0\", \"vxlan.calico\" } accept", false);
        check("ip saddr 10.1.0.0/16 accept", false);
        check(
            "ip daddr 10.1.0.0/16 ct state { new, untracked } accept",
            false,
        );
        let open = RULES.replace("\t\treject with icmpx admin-prohibited\n", "");
        assert_eq!(refusal(&open), None);
        assert_eq!(refusal("table ip filter {\n}\n"), None);
    }
}
