//! A limit of the kernel for watched or open files is reached.

use std::path::Path;

use crate::{
    doctor::{
        context::{CheckError, CheckResult, DoctorContext},
        finding::{Finding, FindingRule},
    },
    host::{HostError, InotifyLimits, Reader},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "limits-reached",
    fact: "a limit of the kernel for watched or open files is reached",
    why: "Containers and the kubelet watch files: logs, settings, certificates. At the limit they fail with `too many open files` or `no space left on device`, or miss changes of a file, and the message does not name the limit.",
    criterion: "Whether root gets a few more inotify instances and watches (doctor requests and releases them), and /proc/sys/fs/file-nr: at least nine tenths of the maximum are open.",
    by_hand: &["sysctl -w SETTING=VALUE   (until the next boot)"],
    spec: &["sysctl \"SETTING\" \"VALUE\""],
};
/// What MicroK8s itself sets where nobody keeps it from it: `skip-inotify-tune.lock`.
const INSTANCES: (&str, u64) = ("fs.inotify.max_user_instances", 1024);
const WATCHES: (&str, u64) = ("fs.inotify.max_user_watches", 1_048_576);
const FILES: (&str, u64) = ("fs.file-max", 1_048_576);
/// How many files are open, how many of those are not used, how many may be: `proc_sys_fs(5)`.
const FILE_NR: &str = "/proc/sys/fs/file-nr";
/// The largest number that is read, in bytes.
const LIMIT: u64 = 256;

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    let mut reached = vec![];
    if let Some(found) = reached_open_files(host)? {
        reached.push(found);
    }
    // The kernel that answers is that of this machine.
    let room = if host.root() == Path::new("/") {
        host.inotify_limits()
    } else {
        None
    };
    if let Some(room) = room {
        reached.extend(reached_inotify_limits(host, room)?);
    }
    match room {
        Some(room) if reached.is_empty() && room.uid != 0 => Err(CheckError(
            "only root can test the limits of root".to_owned(),
        )),
        _ => Ok(finding(reached)),
    }
}

/// A limit that is reached.
struct ReachedLimit {
    evidence: String,
    setting: &'static str,
    /// What would be enough.
    suggested: u64,
}

fn finding(reached: Vec<ReachedLimit>) -> Option<Finding> {
    let is_any = !reached.is_empty();
    let fill = |text: &str, reached: &ReachedLimit| {
        text.replace("SETTING", reached.setting)
            .replace("VALUE", &reached.suggested.to_string())
    };
    let by_hand = reached.iter().map(|one| fill(RULE.by_hand[0], one));
    let spec = reached.iter().map(|one| fill(RULE.spec[0], one));
    let (by_hand, spec) = (by_hand.collect(), spec.collect());
    let evidence = reached.into_iter().map(|one| one.evidence).collect();
    is_any.then(|| Finding {
        by_hand,
        spec,
        ..RULE.found(evidence)
    })
}

fn reached_inotify_limits(
    host: &Reader,
    limits: InotifyLimits,
) -> Result<Vec<ReachedLimit>, HostError> {
    let InotifyLimits {
        uid,
        has_instances,
        has_watches,
    } = limits;
    let mut reached = vec![];
    for (is_reached, what, (setting, least)) in [
        (!has_instances, "inotify instances", INSTANCES),
        (has_watches == Some(false), "inotify watches", WATCHES),
    ] {
        if is_reached {
            let limit = read_number(host, setting)?;
            reached.push(ReachedLimit {
                evidence: format!(
                    "the kernel refuses user {uid} more {what}: {setting} is {limit}"
                ),
                setting,
                suggested: least.max(limit.saturating_mul(2)),
            });
        }
    }
    Ok(reached)
}

fn read_number(host: &Reader, setting: &str) -> Result<u64, HostError> {
    let path = crate::kernel::sysctl_d::path(setting);
    let text = host.read_text(&path, LIMIT)?.unwrap_or_default();
    Ok(text.trim().parse().unwrap_or(0))
}

fn reached_open_files(host: &Reader) -> Result<Option<ReachedLimit>, HostError> {
    let text = host
        .read_text(Path::new(FILE_NR), LIMIT)?
        .unwrap_or_default();
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [open, free, most] = numbers[..] else {
        return Ok(None);
    };
    let used = open.saturating_sub(free);
    if u128::from(used) * 10 < u128::from(most) * 9 {
        return Ok(None);
    }
    let (setting, least) = FILES;
    Ok(Some(ReachedLimit {
        evidence: format!("{FILE_NR}: {used} of at most {most} files are open"),
        setting,
        suggested: least.max(most.saturating_mul(2)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn inotify_finding_names_the_limit() {
        let root = TestRoot::new(&[
            ("/proc/sys/fs/inotify/max_user_instances", "128\n"),
            ("/proc/sys/fs/inotify/max_user_watches", "1000000\n"),
        ]);
        let found = |has_instances, has_watches| {
            let left = InotifyLimits {
                uid: 0,
                has_instances,
                has_watches,
            };
            let found = finding(reached_inotify_limits(&root.reader(), left).unwrap());
            found.map(|found| (found.evidence, found.spec))
        };
        assert_eq!(found(true, Some(true)), None);
        let (evidence, spec) = found(false, None).unwrap();
        assert_eq!(
            evidence,
            [
                "the kernel refuses user 0 more inotify instances: fs.inotify.max_user_instances is 128"
            ]
        );
        assert_eq!(spec, ["sysctl \"fs.inotify.max_user_instances\" \"1024\""]);
        let (_, spec) = found(true, Some(false)).unwrap();
        assert_eq!(spec, ["sysctl \"fs.inotify.max_user_watches\" \"2000000\""]);
    }

    #[test]
    fn open_files_are_reported_above_nine_tenths() {
        for (text, expected) in [
            ("899\t0\t1000\n", false),
            ("901\t0\t1000\n", true),
            ("950\t100\t1000\n", false),
            ("813\t0\t9223372036854775807\n", false),
            ("", false),
        ] {
            let root = TestRoot::new(&[(FILE_NR, text)]);
            let found = reached_open_files(&root.reader()).unwrap();
            assert_eq!(found.is_some(), expected, "{text}");
        }
    }

    #[test]
    fn manual_fix_and_spec_set_the_same_limit() {
        let root = TestRoot::new(&[(FILE_NR, "95\t0\t100\n")]);
        let found = finding(
            reached_open_files(&root.reader())
                .unwrap()
                .into_iter()
                .collect(),
        );
        let found = found.unwrap();
        assert_eq!(
            found.by_hand,
            ["sysctl -w fs.file-max=1048576   (until the next boot)"]
        );
        assert_eq!(found.spec, ["sysctl \"fs.file-max\" \"1048576\""]);
    }
}
