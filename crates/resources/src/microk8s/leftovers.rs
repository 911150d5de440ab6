//! What the snap of MicroK8s leaves on a host when it is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    host::Reader,
    microk8s::layout::SNAP,
    netfilter::{SavedRule, TableRead, TableVariant, Tables},
};

/// The group that its install hook makes: `snap/hooks/install`.
const GROUP: &str = "microk8s";
/// A chain that every kube-proxy keeps in each table that it uses: `pkg/proxy/iptables/proxier.go` of Kubernetes.
const CANARY_CHAIN: &str = "KUBE-PROXY-CANARY";
/// Settings that kube-proxy changes: `cmd/kube-proxy/app/conntrack.go` and `pkg/proxy/iptables/proxier.go`.
const SYSCTLS: [&str; 4] = [
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
];
/// The largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Names what of a snap is there now that it would leave.
pub(crate) async fn of_snap(host: &Reader, name: &str) -> BTreeSet<String> {
    if name == SNAP {
        leftovers(host).await
    } else {
        BTreeSet::new()
    }
}

async fn leftovers(host: &Reader) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let groups = host
        .read_text(Path::new("/etc/group"), LIMIT)
        .ok()
        .flatten();
    let prefix = format!("{GROUP}:");
    if groups.is_some_and(|text| text.lines().any(|line| line.starts_with(&prefix))) {
        found.insert(format!("the group {GROUP}"));
    }
    // Where the programs are missing, nobody made chains with them.
    if let Ok(tables) = Tables::read(host).await {
        for column in TableVariant::ALL {
            let TableRead::Read(saved) = tables.table_read(column) else {
                continue;
            };
            let program = column.query().program().trim_end_matches("-save");
            if saved
                .tables
                .values()
                .any(|chains| chains.contains_key(CANARY_CHAIN))
            {
                found.insert(format!("chains of kube-proxy in {program}"));
            }
            // Its remove hook takes them away. snapd does not run that when it reverts an install that failed.
            let mut chains = saved.tables.values().flat_map(BTreeMap::values);
            if chains.any(|chain| chain.rules.iter().any(SavedRule::is_of_microk8s)) {
                found.insert(format!("rules for pods in {program}"));
            }
        }
    }
    for setting in SYSCTLS {
        let path = Path::new("/proc/sys").join(setting);
        if let Ok(Some(value)) = host.read_text(&path, LIMIT) {
            let key = setting.replace('/', ".");
            found.insert(format!("the setting {key} at {}", value.trim()));
        }
    }
    found
}
