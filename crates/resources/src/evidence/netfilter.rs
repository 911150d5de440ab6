//! Evidence for changes of policies, rules and chains of iptables.

use std::path::Path;

use jiff::Timestamp;
use stead_engine::model::drift::{Drift, Evidence};

use super::{
    firewalls::{self, UFW, UFW_UNIT},
    forwarding, sudo,
};
use crate::evidence::starts::{describe_start, exactly_one, started_after};
use crate::{
    host::Reader,
    netfilter::{ChainName, Family, SavedTables, TableRead, TableVariant, Tables, known_writers},
};

/// The policy that the kernel gives every chain.
const DEFAULT_POLICY: &str = "ACCEPT";
/// The unit that restores saved rules, and their files: those of the package iptables-persistent.
const PERSISTENT_UNIT: &str = "netfilter-persistent.service";
const SAVED_RULES: [&str; 2] = ["/etc/iptables/rules.v4", "/etc/iptables/rules.v6"];
/// The largest of them that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// The time since a run, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SinceRun {
    /// When the run ended.
    pub(crate) at: Timestamp,
    /// Whether the host was started anew since.
    pub(crate) rebooted: Option<bool>,
}

impl SinceRun {
    /// Returns the time since the run of a drift.
    pub(crate) fn of<S>(drift: &Drift<S>) -> Self {
        Self {
            at: drift.since,
            rebooted: drift.rebooted,
        }
    }
}

/// Looks for who set a policy to what it is now, in all of these columns.
pub(crate) async fn policy_evidence(
    host: &Reader,
    name: ChainName<'_>,
    now: &[(TableVariant, &str)],
    since: SinceRun,
) -> Option<Evidence> {
    let tables = Tables::read(host).await.ok()?;
    let mut found: Option<Evidence> = None;
    for (column, policy) in now {
        let evidence = policy_evidence_in(host, &tables, name, *column, policy, since).await?;
        if found.is_some_and(|other| other != evidence) {
            return None;
        }
        found = Some(evidence);
    }
    found
}

async fn policy_evidence_in(
    host: &Reader,
    tables: &Tables,
    name: ChainName<'_>,
    column: TableVariant,
    policy: &str,
    since: SinceRun,
) -> Option<Evidence> {
    let ChainName { table, chain } = name;
    if table == "filter" {
        let programs = [
            column.family.program(),
            column.program().rsplit('/').next().unwrap_or_default(),
        ];
        let is_iptables = |program: &str| programs.contains(&program);
        let words = ["-P", chain, policy];
        let person = sudo::program_call(host, since.at, is_iptables, &words).await;
        if person.is_some() {
            return person;
        }
    }
    let TableRead::Read(saved) = tables.table_read(column) else {
        return None;
    };
    let mut found = vec![];
    if policy == "DROP" && known_writers::is_policy_of(saved, forwarding::DOCKER, table, chain) {
        let fact = forwarding::docker_start(host, since.at).await;
        found.push(fact.map(|fact| (forwarding::DOCKER, fact)));
    }
    let is_own = tables.default_backend(column.family) == column.backend;
    if policy == "DROP" && is_own && known_writers::is_policy_of(saved, UFW, table, chain) {
        let fact = firewalls::by_ufw(host, saved, since.at).await;
        found.push(fact.map(|fact| (UFW, fact)));
    }
    if policy == DEFAULT_POLICY && is_own && since.rebooted == Some(false) {
        found.push(firewalls::by_firewalld(host, saved, since.at).await);
    }
    let kept = restored_rules(host, tables, column);
    let keeps = kept.as_ref().and_then(|kept| kept.chain(table, chain));
    if keeps.and_then(|chain| chain.policy.as_deref()) == Some(policy) && policy != DEFAULT_POLICY {
        found.push(by_netfilter_persistent(host, since.at).await);
    }
    if found.iter().any(Option::is_some) {
        return actor_evidence(exactly_one(found));
    }
    let is_lost = policy == DEFAULT_POLICY && since.rebooted == Some(true);
    is_lost.then_some(Evidence::Reboot)
}

/// Looks for what took a rule or a chain away. `has` says whether saved rules have it.
pub(crate) async fn removal_evidence(
    host: &Reader,
    table: &str,
    columns: &[TableVariant],
    since: SinceRun,
    has: impl Fn(&SavedTables) -> bool,
) -> Option<Evidence> {
    if columns.is_empty() {
        return None;
    }
    if since.rebooted == Some(true) {
        return Some(Evidence::Reboot);
    }
    let tables = Tables::read(host).await.ok()?;
    let mut found = vec![];
    let restores = |column: &TableVariant| {
        let kept = restored_rules(host, &tables, *column);
        // Restoring replaces the tables that are in the file, and leaves the others.
        kept.is_some_and(|kept| kept.tables.contains_key(table) && !has(&kept))
    };
    if columns.iter().all(restores) {
        found.push(by_netfilter_persistent(host, since.at).await);
    }
    found.push(by_firewalld(host, &tables, columns, since.at).await);
    actor_evidence(exactly_one(found))
}

/// Says that firewalld has replaced the rules of all these columns.
async fn by_firewalld(
    host: &Reader,
    tables: &Tables,
    columns: &[TableVariant],
    since: Timestamp,
) -> Option<(&'static str, String)> {
    let mut found = None;
    for column in columns {
        let TableRead::Read(saved) = tables.table_read(*column) else {
            return None;
        };
        if tables.default_backend(column.family) != column.backend {
            return None;
        }
        found = Some(firewalls::by_firewalld(host, saved, since).await?);
    }
    found
}

async fn by_netfilter_persistent(
    host: &Reader,
    since: Timestamp,
) -> Option<(&'static str, String)> {
    let at = started_after(host, PERSISTENT_UNIT, since).await?;
    Some(("netfilter-persistent", describe_start(PERSISTENT_UNIT, at)))
}

/// Returns the rules that are restored into a column, if some are: they go into the host's own back end.
fn restored_rules(host: &Reader, tables: &Tables, column: TableVariant) -> Option<SavedTables> {
    let file = match column.family {
        Family::Ipv4 => SAVED_RULES[0],
        Family::Ipv6 => SAVED_RULES[1],
    };
    if tables.default_backend(column.family) != column.backend {
        return None;
    }
    let text = host.read_text(Path::new(file), LIMIT).ok()??;
    Some(SavedTables::parse(&text))
}

fn actor_evidence(found: Option<(&str, String)>) -> Option<Evidence> {
    let (name, fact) = found?;
    Some(Evidence::Actor {
        name: name.to_owned(),
        fact,
    })
}

/// Says what gives a chain its policy after a reboot, where that is not `wanted` and is known.
pub(crate) async fn policy_after_reboot(
    host: &Reader,
    name: ChainName<'_>,
    column: TableVariant,
    wanted: &str,
) -> Option<String> {
    let tables = Tables::read(host).await.ok()?;
    let ChainName { table, chain } = name;
    let is_own = tables.default_backend(column.family) == column.backend;
    let is_forward = column.family == Family::Ipv4 && (table, chain) == ("filter", "FORWARD");
    let kept = restored_rules(host, &tables, column);
    let kept = kept
        .as_ref()
        .and_then(|kept| kept.chain(table, chain)?.policy.clone());
    let kept = match kept {
        Some(policy) if is_enabled(host, PERSISTENT_UNIT).await => Some((policy, PERSISTENT_UNIT)),
        _ => None,
    };
    let ufw = match firewalls::ufw_policy(host, chain) {
        Some(policy) if is_own && table == "filter" && is_enabled(host, UFW_UNIT).await => {
            Some((policy, UFW_UNIT))
        }
        _ => None,
    };
    // Docker comes last, and its policy stays.
    let docker = is_own && is_forward && forwarding::docker_drops_at_boot(host).await.ok()?;
    let found = match (docker, kept, ufw) {
        (true, ..) => Some(("DROP".to_owned(), forwarding::DOCKER_UNIT)),
        (_, Some(_), Some(_)) => return None,
        (_, kept, ufw) => kept.or(ufw),
    };
    let (policy, by) = match &found {
        Some((policy, unit)) => (policy.as_str(), format!("set by {unit}")),
        None => (DEFAULT_POLICY, "which no unit sets".to_owned()),
    };
    (policy != wanted).then(|| format!("after a reboot: {policy}, {by}"))
}

async fn is_enabled(host: &Reader, unit: &str) -> bool {
    host.has_systemd().unwrap_or(false)
        && host
            .unit(unit)
            .await
            .is_ok_and(|unit| unit.file_state == "enabled")
}
