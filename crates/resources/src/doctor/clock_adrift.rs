//! The clock is not synchronized.

use std::{path::Path, time::Duration};

use crate::{
    doctor::{
        context::{Look, Patient},
        finding::{Ailment, Finding},
    },
    host::{Clock, HostError, Reader},
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "clock-adrift",
    fact: "the clock of this host is not synchronized",
    why: "An unsynchronized clock drifts by seconds each day. Then certificates and tokens are expired or not yet valid for the snap store and the API server, and logs of several machines do not match.",
    looks_at: "The state of the clock by systemd-timedated, from ten minutes after the boot on. Not checked in a container, which has the clock of its machine, nor where the guest tools of VMware or VirtualBox set the clock.",
    by_hand: &[INSTALL, ENABLE, ASK],
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
const ASK: &str = "journalctl --unit systemd-timesyncd --unit chrony --lines 50   (if NTP is yes: shows which server does not answer)";
/// What systemd-timesyncd makes when it has set the clock: systemd-timesyncd.service(8).
const SET: &str = "/run/systemd/timesync/synchronized";
/// What systemd writes in a container: <https://systemd.io/CONTAINER_INTERFACE>.
const CONTAINER: &str = "/run/systemd/container";
/// So long after the boot the clock may still be on its way.
const EARLY: Duration = Duration::from_mins(10);
/// Programs by which the host of a virtual machine may keep its clock right, which the kernel does not know.
const GUESTS: [&str; 4] = [
    "open-vm-tools.service",
    "vmtoolsd.service",
    "virtualbox-guest-utils.service",
    "vboxadd-service.service",
];

pub(super) async fn look(patient: &Patient<'_>) -> Look {
    let host = patient.host;
    if !host.has_systemd()? || has(host, CONTAINER)? || has(host, SET)? {
        return Ok(None);
    }
    let up = Duration::from_millis(host.now().milliseconds);
    if up < EARLY {
        return Ok(None);
    }
    let Some(finding) = judge(host.clock().await?, up) else {
        return Ok(None);
    };
    for unit in GUESTS {
        if host.unit(unit).await?.active == "active" {
            return Ok(None);
        }
    }
    Ok(Some(finding))
}

fn has(host: &Reader, path: &str) -> Result<bool, HostError> {
    Ok(host.stat(Path::new(path))?.is_some())
}

fn judge(clock: Clock, up: Duration) -> Option<Finding> {
    let Clock {
        is_synchronised,
        can_be,
        is_kept,
    } = clock;
    if is_synchronised {
        return None;
    }
    let word = |is| if is { "yes" } else { "no" };
    let (can, kept) = (word(can_be), word(is_kept));
    let minutes = up.as_secs() / 60;
    let finding = AILMENT.seen(vec![format!(
        "systemd-timedated: NTPSynchronized is no, {minutes} minutes after the boot; CanNTP is {can}, NTP is {kept}"
    )]);
    let way = match (can_be, is_kept) {
        (_, true) => ASK,
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

    fn check(is_synchronised: bool, can_be: bool, is_kept: bool, expected: Option<(&str, usize)>) {
        let clock = Clock {
            is_synchronised,
            can_be,
            is_kept,
        };
        let found = judge(clock, Duration::from_hours(1));
        let told = found.as_ref();
        let told = told.map(|found| (found.by_hand[0].as_str(), found.spec.len()));
        assert_eq!(told, expected, "{clock:?}");
    }

    #[test]
    fn the_way_to_a_right_clock_depends_on_who_keeps_it() {
        check(true, true, true, None);
        check(true, false, false, None);
        check(false, true, true, Some((ASK, 0)));
        check(false, true, false, Some((ENABLE, 0)));
        check(false, false, false, Some((INSTALL, 2)));
    }

    #[test]
    fn the_evidence_is_what_systemd_timedated_says() {
        let clock = Clock {
            is_synchronised: false,
            can_be: true,
            is_kept: false,
        };
        let found = judge(clock, Duration::from_hours(1)).unwrap();
        assert_eq!(
            found.evidence,
            [
                "systemd-timedated: NTPSynchronized is no, 60 minutes after the boot; CanNTP is yes, NTP is no"
            ]
        );
    }
}
