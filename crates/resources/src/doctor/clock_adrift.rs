//! The clock is not synchronized.

use std::{path::Path, time::Duration};

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::{Finding, FindingRule},
    },
    host::{Clock, HostError, Reader},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "clock-adrift",
    fact: "the clock of this host is not synchronized",
    why: "An unsynchronized clock drifts by seconds each day. Then certificates and tokens are expired or not yet valid for the snap store and the API server, and logs of several machines do not match.",
    criterion: "The state of the clock by systemd-timedated, from ten minutes after the boot on. Not checked in a container, which has the clock of its machine, nor where the guest tools of VMware or VirtualBox set the clock.",
    by_hand: &[INSTALL, ENABLE, INSPECT],
    spec: &[
        "package \"systemd-timesyncd\"",
        "unit \"systemd-timesyncd.service\" enabled=#true running=#true",
    ],
};
/// Where no program is installed that could.
const INSTALL: &str = "apt-get install systemd-timesyncd   (if CanNTP is no)";
/// Where one is, and is not enabled.
const ENABLE: &str = "timedatectl set-ntp true   (if NTP is no)";
/// Where one is enabled, in vain.
const INSPECT: &str = "journalctl --unit systemd-timesyncd --unit chrony --lines 50   (if NTP is yes: shows which server does not answer)";
/// What systemd-timesyncd makes when it has set the clock: systemd-timesyncd.service(8).
const SYNCHRONIZED_FILE: &str = "/run/systemd/timesync/synchronized";
/// What systemd writes in a container: <https://systemd.io/CONTAINER_INTERFACE>.
const CONTAINER_FILE: &str = "/run/systemd/container";
/// So long after the boot the clock may still be on its way.
const BOOT_GRACE: Duration = Duration::from_mins(10);
/// Programs by which the host of a virtual machine may keep its clock right, which the kernel does not know.
const GUEST_UNITS: [&str; 4] = [
    "open-vm-tools.service",
    "vmtoolsd.service",
    "virtualbox-guest-utils.service",
    "vboxadd-service.service",
];

pub(super) async fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    if !host.has_systemd()? || exists(host, CONTAINER_FILE)? || exists(host, SYNCHRONIZED_FILE)? {
        return Ok(None);
    }
    let up = Duration::from_millis(host.now().milliseconds);
    if up < BOOT_GRACE {
        return Ok(None);
    }
    let Some(finding) = evaluate(host.clock().await?, up) else {
        return Ok(None);
    };
    for unit in GUEST_UNITS {
        if host.unit(unit).await?.active_state == "active" {
            return Ok(None);
        }
    }
    Ok(Some(finding))
}

fn exists(host: &Reader, path: &str) -> Result<bool, HostError> {
    Ok(host.stat(Path::new(path))?.is_some())
}

fn evaluate(clock: Clock, up: Duration) -> Option<Finding> {
    let Clock {
        is_synchronised,
        can_sync,
        is_sync_enabled,
    } = clock;
    if is_synchronised {
        return None;
    }
    let word = |is| if is { "yes" } else { "no" };
    let (can, kept) = (word(can_sync), word(is_sync_enabled));
    let minutes = up.as_secs() / 60;
    let finding = RULE.found(vec![format!(
        "systemd-timedated: NTPSynchronized is no, {minutes} minutes after the boot; CanNTP is {can}, NTP is {kept}"
    )]);
    let way = match (can_sync, is_sync_enabled) {
        (_, true) => INSPECT,
        (true, false) => ENABLE,
        (false, false) => INSTALL,
    };
    // A program that is there already may be another one, beside which this one is not installed.
    let spec = if way == INSTALL { finding.spec } else { vec![] };
    Some(Finding {
        by_hand: vec![way.to_owned()],
        spec,
        ..finding
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        is_synchronised: bool,
        can_sync: bool,
        is_sync_enabled: bool,
        expected: Option<(&str, usize)>,
    ) {
        let clock = Clock {
            is_synchronised,
            can_sync,
            is_sync_enabled,
        };
        let found = evaluate(clock, Duration::from_hours(1));
        let told = found.as_ref();
        let told = told.map(|found| (found.by_hand[0].as_str(), found.spec.len()));
        assert_eq!(told, expected, "{clock:?}");
    }

    #[test]
    fn clock_adrift_fix_depends_on_the_ntp_service() {
        check(true, true, true, None);
        check(true, false, false, None);
        check(false, true, true, Some((INSPECT, 0)));
        check(false, true, false, Some((ENABLE, 0)));
        check(false, false, false, Some((INSTALL, 2)));
    }

    #[test]
    fn clock_adrift_evidence_quotes_timedated() {
        let clock = Clock {
            is_synchronised: false,
            can_sync: true,
            is_sync_enabled: false,
        };
        let found = evaluate(clock, Duration::from_hours(1)).unwrap();
        assert_eq!(
            found.evidence,
            [
                "systemd-timedated: NTPSynchronized is no, 60 minutes after the boot; CanNTP is yes, NTP is no"
            ]
        );
    }
}
