//! What moved policies, rules and chains of iptables.

use std::path::Path;

use jiff::Timestamp;
use stead_engine::drift::{Drift, Evidence};

use super::{forwarding, only, start, started, sudo};
use crate::{
    host::Reader,
    netfilter::{ChainName, Column, Family, Reading, Saved, Tables, actors},
};

/// The policy that the kernel gives every chain.
const UNTOUCHED: &str = "ACCEPT";
/// The unit that restores saved rules, and their files: those of the package iptables-persistent.
const PERSISTENT: &str = "netfilter-persistent.service";
const FILES: [&str; 2] = ["/etc/iptables/rules.v4", "/etc/iptables/rules.v6"];
/// The largest of them that is read, in bytes.
const LIMIT: u64 = 16 << 20;
/// Programs that set policies when they start, as [`actors`] calls them, and their units.
const SETTERS: [(&str, &str); 1] = [("ufw", UFW)];
const UFW: &str = "ufw.service";

/// The time since a run, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    /// When the run ended.
    pub(crate) at: Timestamp,
    /// Whether the host was started anew since.
    pub(crate) rebooted: Option<bool>,
}

impl Since {
    /// Returns the time since the run of a drift.
    pub(crate) fn of<S>(drift: &Drift<S>) -> Self {
        Self {
            at: drift.since,
            rebooted: drift.rebooted,
        }
    }
}

/// Looks for who set a policy to what it is now, in all of these columns.
pub(crate) async fn of_policy(
    host: &Reader,
    name: ChainName<'_>,
    now: &[(Column, &str)],
    since: Since,
) -> Option<Evidence> {
    let tables = Tables::read(host).await.ok()?;
    let mut found: Option<Evidence> = None;
    for (column, policy) in now {
        let evidence = of_column(host, &tables, name, *column, policy, since).await?;
        if found.is_some_and(|other| other != evidence) {
            return None;
        }
        found = Some(evidence);
    }
    found
}

async fn of_column(
    host: &Reader,
    tables: &Tables,
    name: ChainName<'_>,
    column: Column,
    policy: &str,
    since: Since,
) -> Option<Evidence> {
    let ChainName { table, chain } = name;
    if table == "filter" {
        let programs = [
            column.family.program(),
            column.program().rsplit('/').next().unwrap_or_default(),
        ];
        let is_iptables = |program: &str| programs.contains(&program);
        let words = ["-P", chain, policy];
        let person = sudo::call(host, since.at, is_iptables, &words).await;
        if person.is_some() {
            return person;
        }
    }
    let Reading::Read(saved) = tables.column(column) else {
        return None;
    };
    let mut found = vec![];
    if policy == "DROP" && actors::is_policy_of(saved, forwarding::DOCKER, table, chain) {
        let fact = forwarding::docker(host, since.at).await;
        found.push(fact.map(|fact| (forwarding::DOCKER, fact)));
    }
    for (name, unit) in SETTERS {
        if policy == "DROP" && actors::is_policy_of(saved, name, table, chain) {
            let at = started(host, unit, since.at).await;
            found.push(at.map(|at| (name, start(unit, at))));
        }
    }
    let kept = kept(host, tables, column);
    let keeps = kept.as_ref().and_then(|kept| kept.chain(table, chain));
    if keeps.and_then(|chain| chain.policy.as_deref()) == Some(policy) && policy != UNTOUCHED {
        found.push(persistent(host, since.at).await);
    }
    if found.iter().any(Option::is_some) {
        return actor(only(found));
    }
    let is_lost = policy == UNTOUCHED && since.rebooted == Some(true);
    is_lost.then_some(Evidence::Reboot)
}

/// Looks for what took a rule or a chain away. `has` says whether saved rules have it.
pub(crate) async fn of_absence(
    host: &Reader,
    table: &str,
    columns: &[Column],
    since: Since,
    has: impl Fn(&Saved) -> bool,
) -> Option<Evidence> {
    if columns.is_empty() {
        return None;
    }
    if since.rebooted == Some(true) {
        return Some(Evidence::Reboot);
    }
    let tables = Tables::read(host).await.ok()?;
    let replaces = |column: &Column| {
        let kept = kept(host, &tables, *column);
        // Restoring replaces the tables that are in the file, and leaves the others.
        kept.is_some_and(|kept| kept.tables.contains_key(table) && !has(&kept))
    };
    if !columns.iter().all(replaces) {
        return None;
    }
    actor(persistent(host, since.at).await)
}

async fn persistent(host: &Reader, since: Timestamp) -> Option<(&'static str, String)> {
    let at = started(host, PERSISTENT, since).await?;
    Some(("netfilter-persistent", start(PERSISTENT, at)))
}

/// Returns the rules that are restored into a column, if some are: they go into the host's own back end.
fn kept(host: &Reader, tables: &Tables, column: Column) -> Option<Saved> {
    let file = match column.family {
        Family::Ipv4 => FILES[0],
        Family::Ipv6 => FILES[1],
    };
    if tables.own(column.family) != column.backend {
        return None;
    }
    let text = host.read_text(Path::new(file), LIMIT).ok()??;
    Some(Saved::parse(&text))
}

fn actor(found: Option<(&str, String)>) -> Option<Evidence> {
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
    column: Column,
    wanted: &str,
) -> Option<String> {
    let tables = Tables::read(host).await.ok()?;
    let ChainName { table, chain } = name;
    let is_own = tables.own(column.family) == column.backend;
    let is_forward = column.family == Family::Ipv4 && (table, chain) == ("filter", "FORWARD");
    let kept = kept(host, &tables, column);
    let kept = kept
        .as_ref()
        .and_then(|kept| kept.chain(table, chain)?.policy.clone());
    let kept = match kept {
        Some(policy) if is_enabled(host, PERSISTENT).await => Some((policy, PERSISTENT)),
        _ => None,
    };
    let ufw = match ufw_policy(host, chain) {
        Some(policy) if is_own && table == "filter" && is_enabled(host, UFW).await => {
            Some((policy, UFW))
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
        None => (UNTOUCHED, "as nothing sets it".to_owned()),
    };
    (policy != wanted).then(|| format!("after a reboot: {policy}, {by}"))
}

/// Returns the policy that ufw gives a chain when it starts: ufw(8), FILES.
fn ufw_policy(host: &Reader, chain: &str) -> Option<String> {
    let read = |path: &str| host.read_text(Path::new(path), LIMIT).ok().flatten();
    let value = |text: &str, key: &str| {
        let mut values = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        values
            .next_back()
            .map(|value| value.trim_matches('"').to_owned())
    };
    if value(&read("/etc/ufw/ufw.conf")?, "ENABLED")?.to_lowercase() != "yes" {
        return None;
    }
    let policy = value(
        &read("/etc/default/ufw")?,
        &format!("DEFAULT_{chain}_POLICY"),
    )?;
    // A refusal is a rule; what is left to the policy is then dropped.
    Some(if policy == "ACCEPT" {
        policy
    } else {
        "DROP".to_owned()
    })
}

async fn is_enabled(host: &Reader, unit: &str) -> bool {
    host.has_systemd().unwrap_or(false)
        && host
            .unit(unit)
            .await
            .is_ok_and(|unit| unit.file == "enabled")
}
