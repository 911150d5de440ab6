//! The watchdog that rolls back an unconfirmed run: a systemd timer and a boot unit. Both call stead, which does what the
//! journal says is due, and are no-ops if nothing is pending.

use std::path::Path;

use stead_engine::provider::host::{Guard, GuardError};
use zbus::Variant;

use crate::{
    files::conf_d::HEADER,
    host::{HostError, NewUnit, Reader, Writer},
    systemd::files::{UNITS, remove, remove_empty_folder, write},
};

/// The exit code by which stead says that nothing is due yet: `stead help`.
const NOT_YET: i32 = 6;
/// How exact the timer is, in microseconds.
const ACCURACY: u64 = 100_000;

/// The names of all that looks after a run.
struct Names {
    timer: String,
    service: String,
    /// The unit that each boot starts, and the link that makes it do so.
    boot: [String; 2],
}

impl Names {
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
pub(crate) async fn arm(host: &Writer, guard: &Guard<'_>) -> Result<(), GuardError> {
    let names = Names::of(guard.run);
    let reader = Reader::new(host.root());
    if !reader.has_systemd().map_err(refused("find systemd"))? {
        return Err(GuardError {
            attempted: "arm the watchdog".to_owned(),
            source: "systemd is not running here".into(),
        });
    }
    let program = reader.own_program().map_err(refused("find stead itself"))?;
    let command = [
        program.display().to_string(),
        "--state-dir".to_owned(),
        guard.state.display().to_string(),
        "revert".to_owned(),
        "--unless-confirmed".to_owned(),
        guard.run.to_string(),
    ];
    let [link, unit] = &names.boot;
    write(host, Path::new(unit), &boot_unit(guard, &command))
        .and_then(|()| write(host, Path::new(link), &link_to(unit)))
        .map_err(refused("arm the next boot"))?;
    host.start_transient(
        (&names.timer, timer(guard)),
        (&names.service, service(guard, &command)),
    )
    .await
    .map_err(refused("arm a timer of systemd"))
}

/// Ends both, the timer first.
pub(crate) async fn disarm(host: &Writer, run: u64) -> Result<(), GuardError> {
    let names = Names::of(run);
    // A timer that does not stop finds that the run has ended, and is lost in the next boot.
    drop(host.unit_job("StopUnit", &names.timer).await);
    for path in &names.boot {
        let path = Path::new(path);
        remove(host, path)
            .and_then(|()| host.clean(path))
            .and_then(|()| remove_empty_folder(host, path))
            .map_err(refused("remove the unit for the next boot"))?;
    }
    Ok(())
}

fn link_to(unit: &str) -> String {
    let name = unit.rsplit('/').next().unwrap_or(unit);
    format!("-> ../{name}")
}

/// Comes before everything that could use what the run has changed. What needs more of the host than there is so early is tried again.
fn boot_unit(guard: &Guard<'_>, command: &[String]) -> String {
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
        run = guard.run,
        state = guard.state.display(),
        command = quoted.join(" "),
    )
}

/// It starts the service of its own name.
fn timer(guard: &Guard<'_>) -> NewUnit<'static> {
    let every = u64::try_from(guard.every.as_micros()).unwrap_or(u64::MAX);
    vec![
        (
            "Description",
            format!("Looks whether run {} of stead is confirmed", guard.run).into(),
        ),
        (
            "TimersMonotonic",
            Variant::from(vec![
                ("OnActiveSec".to_owned(), every),
                ("OnUnitInactiveSec".to_owned(), every),
            ]),
        ),
        ("AccuracyUSec", ACCURACY.into()),
        ("RemainAfterElapse", false.into()),
        ("CollectMode", "inactive-or-failed".to_owned().into()),
    ]
}

fn service(guard: &Guard<'_>, command: &[String]) -> NewUnit<'static> {
    let exits: (Vec<i32>, Vec<i32>) = (vec![NOT_YET], vec![]);
    vec![
        (
            "Description",
            format!(
                "Take back run {} of stead unless it is confirmed",
                guard.run
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

fn refused(attempted: &str) -> impl FnOnce(HostError) -> GuardError {
    let attempted = attempted.to_owned();
    move |source| GuardError {
        attempted,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::test_root::Root;

    #[test]
    fn the_unit_for_the_boot_quotes_what_it_calls() {
        let guard = Guard {
            run: 7,
            state: Path::new("/var/lib/stead"),
            every: Duration::from_secs(5),
        };
        let unit = boot_unit(&guard, &["/opt/a b/stead".to_owned(), "50%\"".to_owned()]);
        assert!(
            unit.contains("ExecStart=\"/opt/a b/stead\" \"50%%\\\"\"\n"),
            "{unit}"
        );
    }

    #[tokio::test]
    async fn what_a_kill_left_of_the_unit_for_the_boot_goes() {
        let root = Root::new(&[("/etc/systemd/system/ssh.service", "")]);
        let [link, unit] = Names::of(7).boot;
        write(&root.writer(), Path::new(&unit), "unit").unwrap();
        write(&root.writer(), Path::new(&link), &link_to(&unit)).unwrap();
        disarm(&root.writer(), 7).await.unwrap();
        disarm(&root.writer(), 7).await.unwrap();
        let left = root.reader().list_folder(Path::new(UNITS)).unwrap();
        assert_eq!(left, ["ssh.service"]);
    }
}
