//! The units and files through which stead runs itself again, and whether they exist.

use std::{collections::BTreeMap, path::Path};

use crate::{
    files::conf_d::HEADER,
    host::{HostError, MetaKind, Reader, UnitJob, Writer},
    systemd::files::UNITS,
    values::implied_hook::SNAP_REFRESH,
};

/// Stays and watches.
pub(crate) const WATCH: &str = "watch";
/// The unit that does.
pub(crate) const WATCH_UNIT: &str = "stead-watch.service";
/// The unit that runs stead. It is a template with an instance for each reason, so that none is lost while another is at work.
pub(crate) const UNIT: &str = "stead-restore@.service";
/// Units that overwrite tables, settings or arguments when they start. The hook comes after them, each time.
const OVERWRITING_UNITS: [&str; 6] = [
    "docker.service",
    "netfilter-persistent.service",
    "ufw.service",
    "firewalld.service",
    "snap.microk8s.daemon-kubelite.service",
    "snap.microk8s.daemon-proxy.service",
];
/// The reason for which an interrupted run is rolled back.
const INTERRUPTED: &str = "interrupted";
/// The reasons for which it runs beside one that watches. All others are starts of programs, of which that one hears itself.
const OWN_REASONS: [&str; 3] = ["multi-user", SNAP_REFRESH, INTERRUPTED];
/// Where MicroK8s looks for executables to run: after a refresh, and every few seconds.
pub(crate) const SNAP_HOOKS: &str = "/var/snap/microk8s/common/hooks";
/// Our name there.
const SCRIPT: &str = "50-stead";
/// The largest file that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// Returns the instance of the unit for a reason.
fn unit_instance(reason: &str) -> String {
    UNIT.replace('@', &format!("@{reason}"))
}

/// Has an interrupted run rolled back, by a process that the rollback does not end.
pub async fn start_recovery_unit(host: &Writer) -> Result<(), HostError> {
    host.unit_job(UnitJob::Start, &unit_instance(INTERRUPTED))
        .await
}

/// Whether what a hook is run for is left to the one that watches, which also knows what is to be left alone.
pub async fn defers_to_watch(host: &Reader, reason: &str) -> bool {
    if OWN_REASONS.contains(&reason) {
        return false;
    }
    let watch = host.unit(WATCH_UNIT).await;
    watch.is_ok_and(|watch| watch.active_state == "active")
}

/// Returns the files of a hook for a stead at `program`.
pub(crate) fn desired_files(name: &str, program: &Path) -> BTreeMap<String, String> {
    if name == SNAP_REFRESH {
        let start = format!("systemctl start --no-block {}", unit_instance(SNAP_REFRESH));
        let after = format!("#!/bin/sh\n{HEADER}\nexec {start}\n");
        // A revert runs no hook of a refresh; that the revision is another one is seen here.
        let again = format!(
            "#!/bin/sh\n{HEADER}\nseen=/run/stead/seen-revision\nnow=$(readlink /var/snap/microk8s/current)\n\
             [ \"$now\" = \"$(cat $seen 2>/dev/null)\" ] && exit 0\n\
             mkdir -p -m 0700 /run/stead && {start} && printf %s \"$now\" >$seen\n"
        );
        return BTreeMap::from([
            (format!("{SNAP_HOOKS}/post-refresh.d/{SCRIPT}"), after),
            (format!("{SNAP_HOOKS}/reconcile.d/{SCRIPT}"), again),
        ]);
    }
    let after = OVERWRITING_UNITS.join(" ");
    let program = program.display();
    if name == WATCH {
        let unit = format!(
            "{HEADER}\n[Unit]\nDescription=Bring back at once what stead applied\nAfter=snapd.service {after}\n\n\
             [Service]\nType=notify\nExecStart={program} watch\nRestart=on-failure\nRestartSec=5s\nWatchdogSec=2min\n\
             RuntimeDirectory=stead\nRuntimeDirectoryMode=0700\nRuntimeDirectoryPreserve=yes\n\
             TimeoutStopSec=20min\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        let link = format!("{UNITS}/multi-user.target.wants/{WATCH_UNIT}");
        return BTreeMap::from([
            (format!("{UNITS}/{WATCH_UNIT}"), unit),
            (link, format!("-> ../{WATCH_UNIT}")),
        ]);
    }
    let unit = format!(
        "{HEADER}\n[Unit]\nDescription=Bring back what stead applied (%i)\nAfter=snapd.service {after}\n\
         StartLimitIntervalSec=600\nStartLimitBurst=20\n\n\
         [Service]\nType=oneshot\nExecStart={program} watch --once --because %i\nTimeoutStartSec=20min\n"
    );
    let mut files = BTreeMap::from([(format!("{UNITS}/{UNIT}"), unit)]);
    for starter in OVERWRITING_UNITS.iter().chain(&["multi-user.target"]) {
        let reason = starter.rsplit_once('.').map_or(*starter, |(stem, _)| stem);
        let link = format!("{UNITS}/{starter}.wants/{}", unit_instance(reason));
        files.insert(link, format!("-> ../{UNIT}"));
    }
    files
}

/// Says what is missing of a hook that should be there.
pub(crate) fn missing_files(host: &Reader, name: &str) -> Result<Vec<String>, HostError> {
    let mut faults = vec![];
    for path in desired_files(name, Path::new("")).into_keys() {
        match read_entry(host, Path::new(&path))?.as_deref() {
            None => faults.push(format!("{path} is missing")),
            Some("-> /dev/null") => {
                faults.push(format!("{path} leads to /dev/null, which masks it"));
            }
            Some(_) => {}
        }
    }
    Ok(faults)
}

pub(crate) fn read_entry(host: &Reader, path: &Path) -> Result<Option<String>, HostError> {
    match host.stat(path)? {
        Some(meta) if meta.kind == MetaKind::Symlink => {
            Ok(Some(format!("-> {}", host.read_link(path)?.display())))
        }
        Some(_) => host.read_text(path, LIMIT),
        None => Ok(None),
    }
}
