//! What ufw and firewalld do when they start: policies, settings, and the rules of others.

use std::path::Path;

use jiff::Timestamp;

use crate::{
    evidence::{
        paths::change_times,
        starts::{describe_start, started_after},
        times::format_time,
    },
    host::Reader,
    kernel::sysctl_d::last_value,
    netfilter::{Family, SavedTables, Tables, known_writers},
};

/// ufw as [`known_writers`] calls it.
pub(crate) const UFW: &str = "ufw";
/// The unit of ufw.
pub(super) const UFW_UNIT: &str = "ufw.service";
/// Whether it is switched on: ufw(8), FILES. `ufw enable` writes that, and starts no unit.
const UFW_CONF: &str = "/etc/ufw/ufw.conf";
/// What it sets: ufw-framework(8).
const UFW_DEFAULTS: &str = "/etc/default/ufw";
/// The built-in chains that it gives a policy.
const UFW_CHAINS: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];
/// firewalld as [`known_writers`] calls it.
const FIREWALLD: &str = "firewalld";
const FIREWALLD_UNIT: &str = "firewalld.service";
/// Its settings: firewalld.conf(5).
const FIREWALLD_SETTINGS: &str = "/etc/firewalld/firewalld.conf";
/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Says how ufw gave the built-in chains of a column their policies after `since`, if it did: all of them are as it makes them.
pub(super) async fn by_ufw(host: &Reader, saved: &SavedTables, since: Timestamp) -> Option<String> {
    let is_as_set = |chain: &str| {
        let policy = saved.chain("filter", chain)?.policy.as_deref()?;
        let is_there = known_writers::is_policy_of(saved, UFW, "filter", chain);
        Some(is_there && ufw_policy(host, chain)? == policy)
    };
    if !UFW_CHAINS
        .iter()
        .all(|chain| is_as_set(chain) == Some(true))
    {
        return None;
    }
    ufw_enabled_after(host, since).await
}

/// Says how ufw gave a setting of the kernel its value of now after `since`, if it did.
pub(crate) async fn sysctl_by_ufw(
    host: &Reader,
    name: &str,
    now: &str,
    since: Timestamp,
) -> Option<String> {
    let file = value_of(&read_text(host, UFW_DEFAULTS)?, "IPT_SYSCTL")?;
    if last_value(&read_text(host, &file)?, name)? != now {
        return None;
    }
    let tables = Tables::read(host).await.ok()?;
    let own = tables.default_backend(Family::Ipv4);
    let mut columns = tables.readable();
    let is_up = columns.any(|(column, saved)| {
        column.backend == own && known_writers::is_policy_of(saved, UFW, "filter", "FORWARD")
    });
    if !is_up {
        return None;
    }
    ufw_enabled_after(host, since).await
}

/// Says how ufw was started or switched on after `since`. Neither is known to the other.
async fn ufw_enabled_after(host: &Reader, since: Timestamp) -> Option<String> {
    if !is_ufw_enabled(host) {
        return None;
    }
    if let Some(at) = started_after(host, UFW_UNIT, since).await {
        return Some(describe_start(UFW_UNIT, at));
    }
    let switched = change_times(host, Path::new(UFW_CONF))
        .ok()??
        .changed_after(since)?;
    Some(format!("{UFW_CONF} changed {}", format_time(switched)))
}

fn is_ufw_enabled(host: &Reader) -> bool {
    let switch = read_text(host, UFW_CONF).and_then(|text| value_of(&text, "ENABLED"));
    switch.is_some_and(|value| value.eq_ignore_ascii_case("yes"))
}

/// Returns the policy that ufw gives a chain when it starts, if it is switched on.
pub(super) fn ufw_policy(host: &Reader, chain: &str) -> Option<String> {
    if !is_ufw_enabled(host) {
        return None;
    }
    let policy = value_of(
        &read_text(host, UFW_DEFAULTS)?,
        &format!("DEFAULT_{chain}_POLICY"),
    )?;
    // A refusal is a rule; what is left to the policy is then dropped.
    Some(if policy == "ACCEPT" {
        policy
    } else {
        "DROP".to_owned()
    })
}

/// Says that firewalld has replaced all rules of a column, and made all policies ACCEPT: it does that at its start, with this back end.
pub(super) async fn by_firewalld(
    host: &Reader,
    saved: &SavedTables,
    since: Timestamp,
) -> Option<(&'static str, String)> {
    let settings = read_text(host, FIREWALLD_SETTINGS)?;
    let is_there = saved
        .tables
        .values()
        .flat_map(|chains| chains.keys())
        .any(|chain| known_writers::of_chain(chain) == Some(FIREWALLD));
    if value_of(&settings, "FirewallBackend").as_deref() != Some("iptables") || !is_there {
        return None;
    }
    let at = started_after(host, FIREWALLD_UNIT, since).await?;
    Some((FIREWALLD, describe_start(FIREWALLD_UNIT, at)))
}

fn read_text(host: &Reader, path: &str) -> Option<String> {
    host.read_text(Path::new(path), LIMIT).ok().flatten()
}

/// Returns the last value that a file of settings gives a key.
fn value_of(text: &str, key: &str) -> Option<String> {
    let mut values = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let value = values.next_back()?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn ufw_policy_maps_reject_to_drop_and_is_none_when_off() {
        let check = |switch: &str, policy: &str, expected: Option<&str>| {
            let defaults =
                format!("#DEFAULT_FORWARD_POLICY=\"x\"\nDEFAULT_FORWARD_POLICY={policy}\n");
            let root = TestRoot::new(&[(UFW_CONF, switch), (UFW_DEFAULTS, &defaults)]);
            let found = ufw_policy(&root.reader(), "FORWARD");
            assert_eq!(found.as_deref(), expected, "{switch} {policy}");
        };
        check("ENABLED=yes\nLOGLEVEL=low\n", "\"DROP\"", Some("DROP"));
        check("ENABLED=Yes\n", "\"REJECT\"", Some("DROP"));
        check("ENABLED=yes\n", "\"ACCEPT\"", Some("ACCEPT"));
        check("ENABLED=no\n", "\"DROP\"", None);
        check("#ENABLED=yes\n", "\"DROP\"", None);
    }
}
