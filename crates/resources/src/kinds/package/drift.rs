//! Evidence for changes of a package: the logs of apt and dpkg, in the time of the host.

use std::path::Path;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use stead_engine::model::drift::Evidence;

use crate::{evidence::times::format_time, host::Reader};

/// What apt did, and for whom: apt.conf(5), `Dir::Log::History`.
const APT_LOG: &str = "/var/log/apt/history.log";
/// What dpkg did: dpkg(1), FILES.
const DPKG_LOG: &str = "/var/log/dpkg.log";
/// The largest log that is read, in bytes.
const LIMIT: u64 = 64 << 20;
/// The program of unattended-upgrades.
const UNATTENDED: &str = "unattended-upgrade";

/// Looks for who moved a package to its version of now; no version is no package.
pub(crate) fn attribute_drift(
    host: &Reader,
    name: &str,
    version: Option<&str>,
    since: Timestamp,
) -> Option<Evidence> {
    let zone = TimeZone::system();
    let read = |path: &str| host.read_text(Path::new(path), LIMIT).ok().flatten();
    let by_apt = read(APT_LOG).and_then(|log| by_apt(&log, name, version, since, &zone));
    by_apt.or_else(|| by_dpkg(&read(DPKG_LOG)?, name, version, since, &zone))
}

fn by_apt(
    log: &str,
    name: &str,
    version: Option<&str>,
    since: Timestamp,
    zone: &TimeZone,
) -> Option<Evidence> {
    let call = log.rsplit("\n\n").find(|call| {
        field(call, "Start-Date")
            .is_some_and(|at| parse_local_time(at, zone).is_some_and(|at| at > since))
            && AptRequest::of(call, name).is_some()
    })?;
    if AptRequest::of(call, name)? != version.map_or(AptRequest::Removed, AptRequest::Version) {
        return None;
    }
    let at = format_time(parse_local_time(field(call, "Start-Date")?, zone)?);
    let command = field(call, "Commandline").unwrap_or("apt");
    let fact = format!("{command}, {at}");
    let program = command.split(' ').next().unwrap_or_default();
    if program.rsplit('/').next() == Some(UNATTENDED) {
        return Some(Evidence::Actor {
            name: "unattended-upgrades".to_owned(),
            fact,
        });
    }
    Some(match field(call, "Requested-By") {
        Some(person) => Evidence::Person {
            name: person.split(" (").next().unwrap_or(person).to_owned(),
            fact,
        },
        None => Evidence::Modified { fact },
    })
}

/// What a call of apt led a package to.
#[derive(PartialEq, Eq)]
enum AptRequest<'a> {
    /// This version.
    Version(&'a str),
    /// It was removed.
    Removed,
}

impl<'a> AptRequest<'a> {
    fn of(call: &'a str, name: &str) -> Option<Self> {
        for (action, is_removal) in [
            ("Install", false),
            ("Reinstall", false),
            ("Upgrade", false),
            ("Downgrade", false),
            ("Remove", true),
            ("Purge", true),
        ] {
            let listed = field(call, action).unwrap_or_default();
            let found = listed.split("), ").find_map(|package| {
                let (full, about) = package.split_once(" (")?;
                let plain = full.split(':').next()?;
                (plain == name).then_some(about.trim_end_matches(')'))
            });
            let Some(about) = found else {
                continue;
            };
            let versions = about.split(", ").filter(|word| *word != "automatic");
            return if is_removal {
                Some(Self::Removed)
            } else {
                versions.last().map(Self::Version)
            };
        }
        None
    }
}

fn by_dpkg(
    log: &str,
    name: &str,
    version: Option<&str>,
    since: Timestamp,
    zone: &TimeZone,
) -> Option<Evidence> {
    let (at, action, new) = log.lines().rev().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let &[day, hour, action, full, _, new] = &words[..] else {
            return None;
        };
        let is_it = full.split(':').next() == Some(name)
            && matches!(action, "install" | "upgrade" | "remove" | "purge");
        let at = parse_local_time(&format!("{day} {hour}"), zone)?;
        is_it.then_some((at, action, new))
    })?;
    let is_removal = matches!(action, "remove" | "purge");
    let is_it = at > since && Some(new).filter(|_| !is_removal) == version;
    is_it.then(|| Evidence::Modified {
        fact: format!("dpkg: {action}, {}", format_time(at)),
    })
}

fn field<'a>(call: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = call.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Reads a time of the host.
fn parse_local_time(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let (day, hour) = text.split_once(' ')?;
    let at: DateTime = format!("{day}T{}", hour.trim()).parse().ok()?;
    zone.to_timestamp(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\nStart-Date: 2026-11-25  10:00:00\nCommandline: apt-get install nginx\nRequested-By: alice (1000)\n\
        Install: nginx:amd64 (1.26.3-3), libpcre2-8-0:amd64 (10.46-1, automatic)\nEnd-Date: 2026-11-25  10:00:09\n\n\
        Start-Date: 2026-11-25  11:00:00\nCommandline: /usr/bin/unattended-upgrade\nUpgrade: libc6:amd64 (2.41-12, 2.41-13), openssl:amd64 (3.5.1-1, 3.5.4-1)\n\
        End-Date: 2026-11-25  11:00:30\n\nStart-Date: 2026-11-25  12:00:00\nCommandline: apt-get remove nginx\nRemove: nginx:amd64 (1.26.3-3)\nEnd-Date: 2026-11-25  12:00:02\n";

    fn evidence_text(log: &str, name: &str, version: Option<&str>, since: &str) -> Option<String> {
        let since = since.parse().unwrap();
        let zone = TimeZone::UTC;
        let by_apt = by_apt(log, name, version, since, &zone);
        Some(
            match by_apt.or_else(|| by_dpkg(log, name, version, since, &zone))? {
                Evidence::Actor { name, fact } => format!("actor {name}: {fact}"),
                Evidence::Person { name, fact } => format!("person {name}: {fact}"),
                Evidence::Modified { fact } => format!("trace: {fact}"),
                Evidence::Reboot => "reboot".to_owned(),
            },
        )
    }

    #[test]
    fn apt_log_attributes_changes_to_their_requester() {
        let check = |name: &str, version: Option<&str>, since: &str, expected: Option<&str>| {
            assert_eq!(
                evidence_text(LOG, name, version, since).as_deref(),
                expected
            );
        };
        let morning = "2026-11-25T09:00:00Z";
        check(
            "openssl",
            Some("3.5.4-1"),
            morning,
            Some("actor unattended-upgrades: /usr/bin/unattended-upgrade, 2026-11-25 11:00:00 UTC"),
        );
        check("openssl", Some("3.5.5-1"), morning, None);
        check("openssl", Some("3.5.4-1"), "2026-11-25T11:30:00Z", None);
        check(
            "libpcre2-8-0",
            Some("10.46-1"),
            morning,
            Some("person alice: apt-get install nginx, 2026-11-25 10:00:00 UTC"),
        );
        check(
            "nginx",
            None,
            morning,
            Some("trace: apt-get remove nginx, 2026-11-25 12:00:00 UTC"),
        );
        // Somebody removed it since.
        check("nginx", Some("1.26.3-3"), morning, None);
        check("ssl", Some("3.5.4-1"), morning, None);
    }

    #[test]
    fn dpkg_log_dates_changes() {
        let log = "2026-11-25 10:00:00 install less:amd64 <none> 668-1\n\
            2026-11-25 10:00:00 status half-installed less:amd64 668-1\n\
            2026-11-25 12:00:00 remove less:amd64 668-1 <none>\n";
        let since = "2026-11-25T11:00:00Z";
        let expected = "trace: dpkg: remove, 2026-11-25 12:00:00 UTC";
        assert_eq!(
            evidence_text(log, "less", None, since).as_deref(),
            Some(expected)
        );
        assert_eq!(evidence_text(log, "less", Some("668-1"), since), None);
        assert_eq!(
            evidence_text(log, "less", None, "2026-11-25T13:00:00Z"),
            None
        );
    }
}
