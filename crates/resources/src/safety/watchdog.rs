//! The watchdog that rolls back an unconfirmed run: a systemd timer and a boot unit. Both call stead, which does what the
//! journal says is due, and are no-ops if nothing is pending.

use std::path::Path;

use stead_engine::provider::host::{Watchdog, WatchdogError};
use zbus::Variant;

use crate::{
    files::conf_d::HEADER,
    host::{HostError, Reader, TransientUnit, UnitJob, Writer},
    systemd::files::{UNITS, remove, remove_empty_dir, write},
};

/// The exit code by which stead says that nothing is due yet: `stead help`.
const EXIT_NOT_DUE: i32 = 6;
/// How exact the timer is, in microseconds.
const ACCURACY_US: u64 = 100_000;

/// The names of all that looks after a run.
struct UnitNames {
    timer: String,
    service: String,
    /// The unit that each boot starts, and the link that makes it do so.
    boot: [String; 2],
}

impl UnitNames {
    fn of(run: u64) -> Self {
        let unit = format!("stead-revert-{run}-boot.service");
        Self {
            timer: format!("stead-revert-{run}.timer"),
            service: format!("stead-revert-{run}.service"),
            boot: [
                format!("{UNITS}/sysinit.target.wants/{unit}"),
                format!("{UNITS}/{unit}"),
            ],
        }
    }
}

/// Arms both, the unit for the boot first: a timer without it would not survive the host.
pub(crate) async fn arm(host: &Writer, watchdog: &Watchdog<'_>) -> Result<(), WatchdogError> {
    let names = UnitNames::of(watchdog.run);
    let reader = Reader::new(host.root());
    if !reader.has_systemd().map_err(refused("find systemd"))? {
        return Err(WatchdogError {
            attempted: "arm the watchdog".to_owned(),
            source: "systemd is not running here".into(),
        });
    }
    let program = reader.current_exe().map_err(refused("find stead itself"))?;
    let command = [
        program.display().to_string(),
        "--state-dir".to_owned(),
        watchdog.state_dir.display().to_string(),
        "revert".to_owned(),
        "--unless-confirmed".to_owned(),
        watchdog.run.to_string(),
    ];
    let [link, unit] = &names.boot;
    write(host, Path::new(unit), &boot_unit(watchdog, &command))
        .and_then(|()| write(host, Path::new(link), &link_target(unit)))
        .map_err(refused("arm the next boot"))?;
    host.start_transient(
        (&names.timer, timer(watchdog)),
        (&names.service, service(watchdog, &command)),
    )
    .await
    .map_err(refused("arm a timer of systemd"))
}

/// Ends both, the timer first.
pub(crate) async fn disarm(host: &Writer, run: u64) -> Result<(), WatchdogError> {
    let names = UnitNames::of(run);
    // A timer that does not stop finds that the run has ended, and is lost in the next boot.
    drop(host.unit_job(UnitJob::Stop, &names.timer).await);
    for path in &names.boot {
        let path = Path::new(path);
        remove(host, path)
            .and_then(|()| host.remove_temporary(path))
            .and_then(|()| remove_empty_dir(host, path))
            .map_err(refused("remove the unit for the next boot"))?;
    }
    Ok(())
}

fn link_target(unit: &str) -> String {
    let name = unit.rsplit('/').next().unwrap_or(unit);
    format!("-> ../{name}")
}

/// Comes before everything that could use what the run has changed. What needs more of the host than there is so early is tried again.
fn boot_unit(watchdog: &Watchdog<'_>, command: &[String]) -> String {
    let quoted: Vec<_> = command
        .iter()
        .map(|word| {
            format!(
                "\"{}\"",
                word.replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('%', "%%")
            )
        })
        .collect();
    format!(
        "{HEADER}\n[Unit]\nDescription=Take back run {run} of stead, which nobody confirmed\n\
         DefaultDependencies=no\nRequiresMountsFor=\"{state}\"\nAfter=local-fs.target\n\
         Before=sysinit.target network-pre.target shutdown.target\nConflicts=shutdown.target\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nExecStart={command}\nRestart=on-failure\nRestartSec=5\n",
        run = watchdog.run,
        state = watchdog.state_dir.display(),
        command = quoted.join(" "),
    )
}

/// It starts the service of its own name.
fn timer(watchdog: &Watchdog<'_>) -> TransientUnit<'static> {
    let every = u64::try_from(watchdog.poll_interval.as_micros()).unwrap_or(u64::MAX);
    vec![
        (
            "Description",
            format!("Looks whether run {} of stead is confirmed", watchdog.run).into(),
        ),
        (
            "TimersMonotonic",
            Variant::from(vec![
                ("OnActiveSec".to_owned(), every),
                ("OnUnitInactiveSec".to_owned(), every),
            ]),
        ),
        ("AccuracyUSec", ACCURACY_US.into()),
        ("RemainAfterElapse", false.into()),
        ("CollectMode", "inactive-or-failed".to_owned().into()),
    ]
}

fn service(watchdog: &Watchdog<'_>, command: &[String]) -> TransientUnit<'static> {
    let exits: (Vec<i32>, Vec<i32>) = (vec![EXIT_NOT_DUE], vec![]);
    vec![
        (
            "Description",
            format!(
                "Take back run {} of stead unless it is confirmed",
                watchdog.run
            )
            .into(),
        ),
        ("Type", "oneshot".to_owned().into()),
        (
            "ExecStart",
            Variant::from(vec![(command[0].clone(), command.to_vec(), false)]),
        ),
        ("SuccessExitStatus", Variant::from(exits)),
        ("CollectMode", "inactive-or-failed".to_owned().into()),
    ]
}

fn refused(attempted: &str) -> impl FnOnce(HostError) -> WatchdogError {
    let attempted = attempted.to_owned();
    move |source| WatchdogError {
        attempted,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::test_root::TestRoot;

    #[test]
    fn boot_unit_quotes_its_command() {
        let guard = Watchdog {
            run: 7,
            state_dir: Path::new("/var/lib/stead"),
            poll_interval: Duration::from_secs(5),
        };
        let unit = boot_unit(&guard, &["/opt/a b/stead".to_owned(), "50%\"".to_owned()]);
        assert!(
            unit.contains("ExecStart=\"/opt/a b/stead\" \"50%%\\\"\"\n"),
            "{unit}"
        );
    }

    #[tokio::test]
    async fn disarm_removes_a_leftover_boot_unit() {
        let root = TestRoot::new(&[("/etc/systemd/system/ssh.service", "")]);
        let [link, unit] = UnitNames::of(7).boot;
        write(&root.writer(), Path::new(&unit), "unit").unwrap();
        write(&root.writer(), Path::new(&link), &link_target(&unit)).unwrap();
        disarm(&root.writer(), 7).await.unwrap();
        disarm(&root.writer(), 7).await.unwrap();
        let left = root.reader().list_dir(Path::new(UNITS)).unwrap();
        assert_eq!(left, ["ssh.service"]);
    }
}
