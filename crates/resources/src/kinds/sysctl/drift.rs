//! Evidence for changes of a sysctl. The kernel records no times, so only programs and people can be identified.

use std::path::Path;

use stead_engine::model::drift::{Drift, Evidence};

use crate::{
    evidence::{
        firewalls::{self, UFW},
        forwarding,
        paths::files_changed,
        starts::{describe_start, exactly_one, started_after},
        sudo,
    },
    host::Reader,
    kernel::sysctl_d::{STEAD_FILE, effective_assignment, files},
    kinds::sysctl::state::State,
    values::setting::Setting,
};

/// The keys by which dockerd turns IPv4 forwarding on. The two are one to the kernel: ip-sysctl.rst.
const IPV4_FORWARDING: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"];
/// What MicroK8s turns on when it starts, beside that: `run-kubelite-with-args`.
const IPV6_FORWARDING: &str = "net.ipv6.conf.all.forwarding";
/// The unit that reads the files for boot.
const UNIT: &str = "systemd-sysctl.service";

/// Looks for what moved a setting.
pub(crate) async fn attribute_drift(
    host: &Reader,
    name: &str,
    drift: &Drift<State>,
) -> Option<Evidence> {
    let (before, after) = (drift.change.before()?, drift.change.after()?);
    if before.boot != after.boot {
        let files = files(host).ok()?;
        if let Some((file, _)) = effective_assignment(&files, name)
            && let Some(found) = files_changed(host, &[&file.path], drift.modified_at).await
        {
            return Some(found);
        }
        return files_changed(host, &[Path::new(STEAD_FILE)], drift.modified_at).await;
    }
    let now = before.running.as_deref()?;
    let words = format!("{name}={now}");
    let person =
        sudo::program_call(host, drift.since, |program| program == "sysctl", &[&words]).await;
    if person.is_some() {
        return person;
    }
    let is_on = now == "1";
    let ipv4 = is_on && IPV4_FORWARDING.contains(&name);
    let docker = if ipv4 {
        forwarding::by_docker(host, drift.since).await
    } else {
        None
    };
    let microk8s = if ipv4 || (is_on && name == IPV6_FORWARDING) {
        forwarding::by_microk8s(host, drift.since).await
    } else {
        None
    };
    let ufw = firewalls::sysctl_by_ufw(host, name, now, drift.since).await;
    let ufw = ufw.map(|fact| Evidence::Actor {
        name: UFW.to_owned(),
        fact,
    });
    if docker.is_some() || microk8s.is_some() {
        return exactly_one([docker, microk8s, ufw]);
    }
    by_files(host, now, drift).await.or(ufw)
}

/// Looks whether the files for boot were read again, or what they leave out was forgotten.
async fn by_files(host: &Reader, now: &str, drift: &Drift<State>) -> Option<Evidence> {
    match (&drift.change.before()?.boot, drift.rebooted) {
        (Some(Setting::Value(value)), Some(true)) if value == now => Some(Evidence::Reboot),
        (Some(Setting::Unset), Some(true)) => {
            let original = drift.original.as_ref()?.running.as_deref()?;
            (original == now).then_some(Evidence::Reboot)
        }
        (Some(Setting::Value(value)), Some(false)) if value == now => {
            let at = started_after(host, UNIT, drift.since).await?;
            Some(Evidence::Actor {
                name: "systemd-sysctl".to_owned(),
                fact: describe_start(UNIT, at),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use stead_engine::model::change::Change;

    use super::*;
    use crate::files::test_root::TestRoot;

    fn state(running: &str, boot: Option<&str>) -> State {
        State {
            running: Some(running.to_owned()),
            boot: Some(boot.map_or(Setting::Unset, |value| Setting::Value(value.to_owned()))),
            ..State::default()
        }
    }

    async fn check(
        before: State,
        original: &str,
        rebooted: Option<bool>,
        expected: Option<Evidence>,
    ) {
        let root = TestRoot::new(&[]);
        let after = State {
            running: Some("9".to_owned()),
            ..before.clone()
        };
        let said = format!("{before:?} {rebooted:?}");
        let drift = Drift {
            since: Timestamp::UNIX_EPOCH,
            modified_at: Timestamp::UNIX_EPOCH,
            rebooted,
            after_run: None,
            original: Some(state(original, None)),
            change: Change::Update { before, after },
        };
        let found = attribute_drift(&root.reader(), "net.ipv4.tcp_retries2", &drift).await;
        assert_eq!(found, expected, "{said}");
    }

    #[tokio::test]
    async fn reboot_explains_return_to_boot_or_original_value() {
        let lost = || Some(Evidence::Reboot);
        check(state("8", Some("8")), "7", Some(true), lost()).await;
        check(state("7", None), "7", Some(true), lost()).await;
        check(state("7", Some("8")), "7", Some(true), None).await;
        check(state("8", None), "7", Some(true), None).await;
        check(state("8", Some("8")), "7", Some(false), None).await;
        check(state("7", None), "7", None, None).await;
    }
}
