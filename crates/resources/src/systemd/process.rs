//! The processes of a unit: starting, stopping and restarting it, each awaited, and what its process was started with.

use std::time::{Duration, Instant};

use stead_engine::{
    model::{address::Address, error_chain::error_chain},
    provider::error::ProviderError,
};
use tokio::time::sleep;

use crate::{
    host::{HostError, Reader, UnitJob, UnitStatus, Writer},
    systemd::{
        inputs::StartInputs,
        start_record::{load_start_record, store_start_record},
        state::KIND,
    },
};

/// How long a job may take. systemd gives a service 90 s unless its unit file says otherwise.
const DEADLINE: Duration = Duration::from_mins(5);
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a service must run until it counts as started, where systemd itself waits for no sign of it.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// The exit code of a process that could not execute its program: systemd.exec(5), "Process Exit Codes".
const EXEC_FAILED: i32 = 203;

/// Whether a unit runs; `None` for a service that runs for a moment and is over when its work is done.
pub(crate) fn is_running(status: &UnitStatus) -> Option<bool> {
    if status.service_type == "oneshot" && !status.remains_after_exit {
        return None;
    }
    Some(is_up(status))
}

/// Whether a unit is active or on its way to be. One that waits until it is started once more is not.
pub(crate) fn is_up(status: &UnitStatus) -> bool {
    match status.active_state.as_str() {
        "active" | "reloading" | "refreshing" => true,
        "activating" => !status.sub_state.starts_with("auto-restart"),
        _ => false,
    }
}

/// Whether systemd, or the process of a unit, works with older files than there are; `None` if this user may not know.
pub(crate) fn is_stale(
    host: &Reader,
    name: &str,
    status: &UnitStatus,
) -> Result<Option<bool>, HostError> {
    // systemd takes what other types say when it reads their files.
    let has_process = [".service", ".socket", ".mount", ".automount", ".swap"];
    if !is_up(status) || !has_process.iter().any(|ending| name.ends_with(ending)) {
        return Ok(Some(status.is_outdated));
    }
    let noted = match load_start_record(host, name, &status.invocation_id) {
        Err(error) if error.is_not_allowed() => return Ok(None),
        noted => noted?,
    };
    let inputs = StartInputs::read(host, name)?;
    Ok(inputs.map(|inputs| match noted {
        Some(digest) => digest != inputs.digest,
        None => status.is_outdated || inputs.newest > status.started_at,
    }))
}

/// Notes what the process of a unit was started with, if that is what its files say. Once they have changed nobody can tell for sure.
pub(crate) async fn record_start(host: &Writer, name: &str) -> Result<(), ProviderError> {
    let reader = Reader::new(host.root());
    let noted = async {
        let status = reader.unit(name).await?;
        if is_up(&status) && is_stale(&reader, name, &status)? == Some(false) {
            record_inputs(host, name, &status)?;
        }
        Ok(())
    };
    noted
        .await
        .map_err(systemd_error(name, "record what it was started with"))
}

/// Notes that the process of a unit was started with what its files say.
fn record_inputs(host: &Writer, name: &str, status: &UnitStatus) -> Result<(), HostError> {
    match StartInputs::read(&Reader::new(host.root()), name)? {
        Some(inputs) => store_start_record(host, name, status.invocation_id.clone(), inputs.digest),
        None => Ok(()),
    }
}

/// What to do with a process whose start nobody noted, and which may run with older settings than its files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfUnknown {
    /// Restart it if its files are newer.
    CompareTimes,
    /// Restart it.
    Restart,
    /// It was so before. Leave it alone.
    Leave,
}

/// Sees to it that a unit runs, with the settings that its files have.
pub(crate) async fn ensure_running(
    host: &Writer,
    name: &str,
    unknown: IfUnknown,
) -> Result<(), ProviderError> {
    let reader = Reader::new(host.root());
    let is_due = async {
        let status = reader.unit(name).await?;
        if !is_up(&status) {
            return Ok(true);
        }
        let noted = load_start_record(&reader, name, &status.invocation_id)?;
        Ok(match unknown {
            IfUnknown::Restart if noted.is_none() => true,
            IfUnknown::Leave if noted.is_none() => false,
            _ => is_stale(&reader, name, &status)? == Some(true),
        })
    };
    if is_due
        .await
        .map_err(systemd_error(name, "read what it was started with"))?
    {
        start_and_wait(host, name).await?;
    }
    Ok(())
}

/// Starts a unit that is not running, or restarts one that is, and waits until it runs. Notes what it was started with.
async fn start_and_wait(host: &Writer, name: &str) -> Result<(), ProviderError> {
    let reader = Reader::new(host.root());
    let before = reader
        .unit(name)
        .await
        .map_err(systemd_error(name, "inspect it"))?;
    let (verb, attempted) = if is_up(&before) {
        (UnitJob::Restart, "restart it")
    } else {
        (UnitJob::Start, "start it")
    };
    let _held = host
        .ref_unit(name)
        .await
        .map_err(systemd_error(name, attempted))?;
    // It may have ended or been started too often for systemd's liking (systemd.unit(5), `StartLimitBurst=`), but not by itself.
    host.reset_failed(name)
        .await
        .map_err(systemd_error(name, attempted))?;
    host.unit_job(verb, name)
        .await
        .map_err(systemd_error(name, attempted))?;
    let started = wait_for_job(host, name, attempted).await?;
    let now = wait_until_stable(&reader, name, started.clone())
        .await
        .map_err(systemd_error(name, attempted))?;
    let is_there = matches!(
        now.active_state.as_str(),
        "active" | "reloading" | "refreshing"
    );
    if !is_there || now.invocation_id != started.invocation_id || now.restarts > 0 {
        let fact = failure_reason(&now, before.invocation_id != now.invocation_id);
        return Err(unit_error(name, attempted, fact));
    }
    record_inputs(host, name, &now).map_err(systemd_error(name, "record what it was started with"))
}

/// Stops a unit, if it is not, and waits until it has stopped.
pub(crate) async fn stop(host: &Writer, name: &str) -> Result<(), ProviderError> {
    let reader = Reader::new(host.root());
    let attempted = "stop it";
    let before = reader
        .unit(name)
        .await
        .map_err(systemd_error(name, "inspect it"))?;
    if before.job == 0 && matches!(before.active_state.as_str(), "inactive" | "failed") {
        return Ok(());
    }
    host.unit_job(UnitJob::Stop, name)
        .await
        .map_err(systemd_error(name, attempted))?;
    let now = wait_for_job(host, name, attempted).await?;
    if is_up(&now) {
        let fact = format!("systemd reports it as {}", now.active_state);
        return Err(unit_error(name, attempted, fact));
    }
    Ok(())
}

/// Makes systemd forget that a unit failed, if it has.
pub(crate) async fn reset_failed(host: &Writer, name: &str) -> Result<(), ProviderError> {
    let forgotten = async {
        let status = Reader::new(host.root()).unit(name).await?;
        if status.active_state == "failed" {
            host.reset_failed(name).await?;
        }
        Ok(())
    };
    forgotten
        .await
        .map_err(systemd_error(name, "reset its failed state"))
}

/// Ends the job of a unit that a killed run has left under way, and makes systemd read what it may not have read yet.
pub(crate) async fn cancel_remnants(host: &Writer, name: &str) -> Result<(), HostError> {
    let status = Reader::new(host.root()).unit(name).await?;
    if status.job != 0 {
        host.cancel_job(status.job).await?;
    }
    if status.is_outdated {
        host.reload_units().await?;
    }
    Ok(())
}

/// Says so if systemd cannot make sense of the files of a unit.
pub(crate) async fn check_loaded(host: &Writer, name: &str) -> Result<(), ProviderError> {
    let attempted = "load it";
    let status = Reader::new(host.root()).unit(name).await;
    let status = status.map_err(systemd_error(name, attempted))?;
    match status.load_state.as_str() {
        "bad-setting" | "error" => Err(unit_error(name, attempted, status.load_error)),
        _ => Ok(()),
    }
}

/// Waits until no job of a unit is under way.
async fn wait_for_job(
    host: &Writer,
    name: &str,
    attempted: &str,
) -> Result<UnitStatus, ProviderError> {
    let reader = Reader::new(host.root());
    let begin = Instant::now();
    let mut told = None;
    loop {
        let status = reader
            .unit(name)
            .await
            .map_err(systemd_error(name, attempted))?;
        if status.job == 0 {
            return Ok(status);
        }
        if begin.elapsed() > DEADLINE {
            let seconds = DEADLINE.as_secs();
            let fact = format!("after {seconds} s it is still {}", status.active_state);
            return Err(unit_error(name, attempted, fact));
        }
        if told.as_ref() != Some(&status.active_state) {
            host.report_wait(format!("{name}, which is {}", status.active_state));
            told = Some(status.active_state);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits for a moment whether a service stays, if systemd has not waited for a sign of it.
async fn wait_until_stable(
    host: &Reader,
    name: &str,
    started: UnitStatus,
) -> Result<UnitStatus, HostError> {
    if !matches!(started.service_type.as_str(), "simple" | "exec" | "idle") {
        return Ok(started);
    }
    let begin = Instant::now();
    let mut now = started.clone();
    while now.active_state == "active"
        && now.invocation_id == started.invocation_id
        && begin.elapsed() < STABLE_AFTER
    {
        sleep(POLL_INTERVAL).await;
        now = host.unit(name).await?;
    }
    Ok(now)
}

/// Says why a unit does not run that was to be started.
fn failure_reason(status: &UnitStatus, has_begun: bool) -> String {
    if status.load_state != "loaded" {
        return match status.load_error.as_str() {
            "" => format!("systemd reports it as {}", status.load_state),
            fault => fault.to_owned(),
        };
    }
    match (status.result.as_str(), status.exit_status) {
        _ if !status.conditions_met => "its conditions are not met on this host".to_owned(),
        ("exit-code", EXEC_FAILED) => "its program cannot be executed".to_owned(),
        ("exit-code", code) => format!("it exited with {code}"),
        ("signal" | "core-dump", signal) => format!("it was killed by signal {signal}"),
        ("timeout", _) => "it took too long".to_owned(),
        ("start-limit-hit", _) => "it failed too often".to_owned(),
        ("success" | "", _) if has_begun => "it exited at once".to_owned(),
        ("success" | "", _) => "something that it needs did not start".to_owned(),
        (other, _) => format!("systemd reports `{other}`"),
    }
}

fn unit_error(name: &str, attempted: &str, fact: String) -> ProviderError {
    let log = format!("its log: `journalctl --unit {name}`");
    ProviderError::new(Address::new(KIND, name), attempted, fact).help(log)
}

/// Makes the error of something that systemd refused.
fn systemd_error(name: &str, attempted: &str) -> impl Fn(HostError) -> ProviderError + use<> {
    let (name, attempted) = (name.to_owned(), attempted.to_owned());
    move |error| unit_error(&name, &attempted, error_chain(&error).join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const NAME: &str = "a.service";

    fn status(active: &str, sub: &str) -> UnitStatus {
        UnitStatus {
            load_state: "loaded".to_owned(),
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            invocation_id: "1".to_owned(),
            started_at: u64::MAX,
            conditions_met: true,
            ..UnitStatus::default()
        }
    }

    #[test]
    fn is_running_includes_starting_units() {
        for (active, sub, expected) in [
            ("active", "running", true),
            ("active", "exited", true),
            ("reloading", "reload", true),
            ("activating", "start", true),
            ("activating", "auto-restart", false),
            ("activating", "auto-restart-queued", false),
            ("deactivating", "stop-sigterm", false),
            ("inactive", "dead", false),
            ("failed", "failed", false),
        ] {
            assert_eq!(is_running(&status(active, sub)), Some(expected), "{sub}");
        }
        let mut oneshot = status("activating", "start");
        oneshot.service_type = "oneshot".to_owned();
        assert_eq!(is_running(&oneshot), None);
        oneshot.remains_after_exit = true;
        assert_eq!(is_running(&oneshot), Some(true));
    }

    #[test]
    fn is_stale_prefers_the_start_record_over_file_times() {
        let root = TestRoot::new(&[
            ("/etc/systemd/system/a.service", "[Service]\nNice=1\n"),
            ("/run/stead/any", ""),
        ]);
        let check = |status: &UnitStatus, expected: bool| {
            let stale = is_stale(&root.reader(), NAME, status).unwrap();
            assert_eq!(stale, Some(expected), "{status:?}");
        };
        let running = status("active", "running");
        let older = UnitStatus {
            started_at: 1,
            ..running.clone()
        };
        let outdated = UnitStatus {
            is_outdated: true,
            ..running.clone()
        };
        check(&running, false);
        check(&older, true);
        check(&outdated, true);
        check(&status("inactive", "dead"), false);

        // A note counts more than the times of the files, and only for its own start.
        record_inputs(&root.writer(), NAME, &older).unwrap();
        check(&older, false);
        check(&outdated, false);
        let again = UnitStatus {
            invocation_id: "2".to_owned(),
            ..older.clone()
        };
        check(&again, true);
        let path = std::path::Path::new("/etc/systemd/system/a.service");
        let host = root.writer();
        host.write_text(path, b"[Service]\nNice=2\n", 0o644)
            .unwrap();
        check(&running, true);
    }

    #[test]
    fn failure_reason_explains_failed_starts() {
        let failed = |result: &str, exit_status: i32| UnitStatus {
            result: result.to_owned(),
            exit_status,
            ..status("failed", "failed")
        };
        let mut unmet = failed("success", 0);
        unmet.conditions_met = false;
        let mut masked = failed("success", 0);
        masked.load_state = "masked".to_owned();
        for (status, has_begun, expected) in [
            (failed("exit-code", 3), true, "it exited with 3"),
            (
                failed("exit-code", 203),
                true,
                "its program cannot be executed",
            ),
            (failed("signal", 9), true, "it was killed by signal 9"),
            (failed("timeout", 0), true, "it took too long"),
            (failed("success", 0), true, "it exited at once"),
            (
                failed("success", 0),
                false,
                "something that it needs did not start",
            ),
            (failed("oom-kill", 0), true, "systemd reports `oom-kill`"),
            (unmet, false, "its conditions are not met on this host"),
            (masked, false, "systemd reports it as masked"),
        ] {
            assert_eq!(failure_reason(&status, has_begun), expected);
        }
    }
}
