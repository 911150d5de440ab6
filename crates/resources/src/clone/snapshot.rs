//! The state of a host beyond its files: network settings, rules, units, snaps. Each by the address of the resource that it
//! would be, if there is one.

use std::path::Path;

use stead_engine::rehearsal::difference::{START_PREFIX, Snapshot};

use super::kernel::settings_below;
use crate::{
    host::{HostError, Reader},
    netfilter::Tables,
    snapd::client,
};

/// What counts and is no setting.
const COUNTERS: [&str; 2] = ["net.netfilter.nf_conntrack_count", "net.ipv4.route.flush"];
/// Units that come and go by themselves.
const TRANSIENT_UNITS: [&str; 11] = [
    "systemd-timedated*",
    "systemd-hostnamed*",
    "systemd-localed*",
    "systemd-tmpfiles-clean*",
    "systemd-update-*",
    "apt-daily*",
    "man-db*",
    "logrotate*",
    "run-*",
    "session-*",
    "user*@*",
];

/// Looks at the host.
///
/// # Errors
/// If something of it cannot be read.
pub async fn take_snapshot(reader: &Reader) -> Result<Snapshot, HostError> {
    let mut features = Snapshot::new();
    for (path, value) in settings_below(reader, Path::new("/proc/sys/net"))? {
        let name = sysctl_name(&path);
        if !COUNTERS.contains(&name.as_str()) {
            features.insert(format!("sysctl:{name}"), value);
        }
    }
    let tables = Tables::read(reader).await?;
    for (column, saved) in tables.readable() {
        let place = format!("{}-{}", column.family.word(), column.backend.word());
        for (table, chains) in &saved.tables {
            for (chain, found) in chains {
                if let Some(policy) = found.policy.as_ref().filter(|policy| *policy != "ACCEPT") {
                    let name = format!("iptables-policy:{table}/{chain} ({place})");
                    features.insert(name, policy.clone());
                } else if found.policy.is_none() {
                    let name = format!("iptables-chain:{table}/{chain} ({place})");
                    features.insert(name, "there".to_owned());
                }
                for rule in &found.rules {
                    let name = match &rule.name {
                        Some(name) if rule.is_ours => format!("iptables-rule:{name} ({place})"),
                        _ => format!("a rule of {table}/{chain}: {} ({place})", rule.text),
                    };
                    features.insert(name, rule.text.clone());
                }
            }
        }
    }
    if reader.has_systemd()? {
        add_units(reader, &mut features).await?;
    }
    if client::is_present(reader).unwrap_or(false)
        && let Ok(snaps) = client::installed_snaps(reader, &[]).await
    {
        for (name, snap) in snaps {
            features.insert(
                format!("snap:{name}"),
                format!("revision {}", snap.revision),
            );
        }
    }
    Ok(features)
}

async fn add_units(reader: &Reader, features: &mut Snapshot) -> Result<(), HostError> {
    for state in ["active", "failed"] {
        for pattern in ["*.service", "*.socket", "*.timer", "*.mount", "*.path"] {
            for name in reader.list_units_in(&[state], pattern).await? {
                if TRANSIENT_UNITS
                    .iter()
                    .any(|passing| crate::values::glob::matches(passing, &name))
                {
                    continue;
                }
                if state == "active" && pattern == "*.service" {
                    let start = reader.unit(&name).await?.invocation_id;
                    features.insert(format!("{START_PREFIX}{name}"), start);
                }
                features.insert(format!("unit:{name}"), state.to_owned());
            }
        }
    }
    Ok(())
}

/// Returns the key of a file below /proc/sys.
fn sysctl_name(path: &Path) -> String {
    let parts = path.strip_prefix("/proc/sys").unwrap_or(path);
    let parts = parts.to_string_lossy();
    let swapped = parts.chars().map(|character| match character {
        '/' => '.',
        '.' => '/',
        other => other,
    });
    swapped.collect()
}
