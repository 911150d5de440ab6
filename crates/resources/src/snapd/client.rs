//! A client of snapd: snaps, changes, settings, services. Its API is documented by `daemon/api_*.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stead_engine::{
    model::{address::Address, error_chain::error_chain, schema::Problem},
    provider::error::ProviderError,
    run::event::{Download, StepProgress},
};
use tokio::time::sleep;

use crate::host::{HostError, HttpResponse, Reader, Writer};

/// The program of snapd, on Debian and on Fedora; where it is missing, nobody will ever listen.
const PROGRAMS: [&str; 2] = ["/usr/lib/snapd/snapd", "/usr/libexec/snapd/snapd"];
/// The unit that listens for it.
const SOCKET_UNIT: &str = "snapd.socket";
/// How often a change is looked at, as the command `snap` does.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long snapd may be gone: it restarts itself in the middle of a change.
const SOCKET_RETRY: Duration = Duration::from_secs(15);
/// How long another change of the same snap may take before ours is given up.
const CONFLICT_TIMEOUT: Duration = Duration::from_mins(5);
/// How the kinds of refusals end that another change causes: `snap-change-conflict`, `quota-change-conflict`.
const CONFLICT_SUFFIX: &str = "-change-conflict";
/// How long a change may take: a slow line and a large snap.
const CHANGE_TIMEOUT: Duration = Duration::from_hours(1);
/// How long the changes of others are waited for.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(10);
/// The first release that can hold a single snap.
const FIRST_WITH_HOLD: (u32, u32) = (2, 58);

/// A snap that is installed.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstalledSnap {
    /// The current revision: a number, or `x1` for a file without assertions.
    pub(crate) revision: String,
    /// The channel that it follows; empty for a file without assertions.
    pub(crate) channel: String,
    /// Its version, in words of its makers.
    pub(crate) version: String,
    /// Whether it is unconfined by its nature.
    pub(crate) classic: bool,
    /// Whether it is installed in devmode.
    pub(crate) devmode: bool,
    /// Whether it is active.
    pub(crate) enabled: bool,
    /// Until when its automatic refresh is held, RFC 3339.
    pub(crate) hold: Option<String>,
    /// All revisions that are kept.
    pub(crate) revisions: Vec<String>,
}

/// What went wrong with snapd.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapdError {
    /// It could not be asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It is installed, and somebody has switched it off.
    #[error("snapd is masked on this host")]
    Masked,
    /// It is installed, and nobody answers.
    #[error("snapd does not answer")]
    Unreachable(#[source] HostError),
    /// It is not installed.
    #[error("this host has no snapd")]
    Missing,
    /// It refused.
    #[error("snapd refused: {message}")]
    Refused {
        /// Its word for the reason, or nothing.
        kind: String,
        /// What it said.
        message: String,
    },
    /// It tried, failed and reverted.
    #[error("snapd failed: {0}")]
    Failed(String),
    /// It took too long.
    #[error("{0} after {1} s")]
    TimedOut(&'static str, u64),
}

impl SnapdError {
    /// Returns snapd's word for the reason.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Refused { kind, .. } => kind,
            _ => "",
        }
    }

    /// Whether there was no answer at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Masked | Self::Missing)
    }

    /// Says what to do about it, where that is known.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("install the package `snapd`"),
            Self::Masked => Some("`systemctl unmask --now snapd.socket snapd.service`"),
            Self::Unreachable(_) => Some("see `systemctl status snapd.socket snapd.service`"),
            _ => match self.kind() {
                "snap-needs-classic" => {
                    Some("write `classic=#true`: this snap needs classic confinement")
                }
                "insufficient-disk-space" => Some("free disk space"),
                kind if kind.ends_with(CONFLICT_SUFFIX) => {
                    Some("`snap changes` shows it; apply again when it has ended")
                }
                _ => None,
            },
        }
    }

    /// Makes a problem of it, for what is known before anything changes.
    pub(crate) fn problem(&self) -> Problem {
        let problem = Problem::new(error_chain(self).join(": "));
        match self.help() {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

/// Makes the error of a resource out of what went wrong with snapd.
pub(crate) fn provider_error<'a>(
    kind: &'static str,
    name: &'a str,
    attempted: &'a str,
) -> impl Fn(SnapdError) -> ProviderError + use<'a> {
    move |error| {
        let help = error.help();
        let error = ProviderError::new(Address::new(kind, name), attempted, error);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

/// Whether snapd is there at all.
pub(crate) fn is_present(host: &Reader) -> Result<bool, HostError> {
    Ok(host.stat(Path::new("/run/snapd.socket"))?.is_some() || has_program(host)?)
}

fn has_program(host: &Reader) -> Result<bool, HostError> {
    for program in PROGRAMS {
        if host.stat(Path::new(program))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the snaps of these names that are installed.
pub(crate) async fn installed_snaps(
    host: &Reader,
    names: &[&str],
) -> Result<BTreeMap<String, InstalledSnap>, SnapdError> {
    let path = format!("/v2/snaps?select=all&snaps={}", names.join(","));
    let list = get(host, &path).await?;
    let mut snaps: BTreeMap<String, InstalledSnap> = BTreeMap::new();
    let text = |snap: &Value, field: &str| snap[field].as_str().unwrap_or_default().to_owned();
    // Without an active revision, a disabled snap is the one that was installed last.
    let mut revisions: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    revisions.sort_by_key(|snap| (snap["status"] == "active", text(snap, "install-date")));
    for snap in revisions {
        let there = snaps.entry(text(snap, "name")).or_default();
        let mut kept = std::mem::take(&mut there.revisions);
        kept.push(text(snap, "revision"));
        kept.sort();
        *there = InstalledSnap {
            revision: text(snap, "revision"),
            channel: text(snap, "tracking-channel"),
            version: text(snap, "version"),
            classic: snap["confinement"] == "classic",
            devmode: snap["devmode"] == true,
            enabled: snap["status"] == "active",
            hold: snap["hold"].as_str().map(str::to_owned),
            revisions: kept,
        };
    }
    Ok(snaps)
}

/// Ends the changes of a snap that a killed run has begun, and waits until snapd has gone back.
pub(crate) async fn abort_changes(host: &Writer, snap: &str) -> Result<(), SnapdError> {
    let reader = Reader::new(host.root());
    if !is_present(&reader)? {
        return Ok(());
    }
    let begin = Instant::now();
    let mut aborted = BTreeSet::new();
    while begin.elapsed() < SETTLE_TIMEOUT {
        let path = format!("/v2/changes?select=in-progress&for={snap}");
        let changes = get(&reader, &path).await?;
        let ids = changes.as_array().into_iter().flatten();
        let ids: Vec<_> = ids.filter_map(|change| change["id"].as_str()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            if aborted.insert(id.to_owned()) {
                let path = format!("/v2/changes/{id}");
                // A change that has just ended cannot be aborted any more, and need not be.
                drop(
                    host.snapd("POST", &path, &json!({"action": "abort"}))
                        .await?,
                );
            }
        }
        sleep(POLL_INTERVAL).await;
    }
    Err(SnapdError::TimedOut(
        "snapd has not rolled back",
        SETTLE_TIMEOUT.as_secs(),
    ))
}

/// Waits until snapd has no change of MicroK8s under way: in the middle of a refresh nothing that MicroK8s runs says anything of the end.
/// Gives up after some minutes, and at once where there is no snapd.
pub async fn wait_until_settled(host: &Reader) {
    let begin = Instant::now();
    while begin.elapsed() < SETTLE_TIMEOUT {
        let changes = match is_present(host) {
            Ok(true) => get(host, "/v2/changes?select=in-progress&for=microk8s").await,
            _ => return,
        };
        match changes {
            Ok(changes) if changes.as_array().is_some_and(|list| !list.is_empty()) => {
                sleep(POLL_INTERVAL).await;
            }
            _ => return,
        }
    }
}

/// Returns the version of snapd.
pub(crate) async fn version(host: &Reader) -> Result<String, SnapdError> {
    let about = get(host, "/v2/system-info").await?;
    Ok(about["version"].as_str().unwrap_or_default().to_owned())
}

/// Whether this snapd can hold a single snap.
pub(crate) async fn supports_hold(host: &Reader) -> Result<bool, SnapdError> {
    let version = version(host).await?;
    let mut parts = version.split(['.', '+', '-', '~']);
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Ok((number(), number()) >= FIRST_WITH_HOLD)
}

/// Returns a setting of a snap, or of snapd itself as `system`; `None` if it is not set.
pub(crate) async fn setting(
    host: &Reader,
    snap: &str,
    key: &str,
) -> Result<Option<Value>, SnapdError> {
    match get(host, &format!("/v2/snaps/{snap}/conf?keys={key}")).await {
        Ok(settings) => Ok(settings.get(key).cloned()),
        Err(error) if error.kind() == "option-not-found" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets settings of a snap; null unsets.
pub(crate) async fn set_settings(
    host: &Writer,
    snap: &str,
    settings: &Value,
) -> Result<(), SnapdError> {
    change(host, "PUT", &format!("/v2/snaps/{snap}/conf"), settings)
        .await
        .map(drop)
}

/// Asks for a change of a snap and waits for its end. `body` has the members of the action.
pub(crate) async fn snap_action(
    host: &Writer,
    snap: &str,
    action: &str,
    mut body: Value,
) -> Result<Value, SnapdError> {
    body["action"] = action.into();
    change(host, "POST", &format!("/v2/snaps/{snap}"), &body).await
}

/// Restarts services, `SNAP.APP` each, and waits until snapd is done with it.
pub(crate) async fn restart_services(host: &Writer, services: &[String]) -> Result<(), SnapdError> {
    let body = json!({"action": "restart", "names": services});
    change(host, "POST", "/v2/apps", &body).await.map(drop)
}

/// Asks for a change, waits for others of the same snap before it, and then for its end. Returns what the change carries.
pub(crate) async fn change(
    host: &Writer,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, SnapdError> {
    change_within(host, method, path, body, CONFLICT_TIMEOUT).await
}

/// As [`change`]; waits so long for others.
async fn change_within(
    host: &Writer,
    method: &str,
    path: &str,
    body: &Value,
    others: Duration,
) -> Result<Value, SnapdError> {
    let reader = Reader::new(host.root());
    let begin = Instant::now();
    let mut since = begin;
    loop {
        let reply = match host.snapd(method, path, body).await {
            Ok(reply) => reply,
            Err(error) => {
                wait_to_retry(&reader, since, error).await?;
                continue;
            }
        };
        since = Instant::now();
        match parse_response(&reply) {
            Ok(reply) => return wait_for_change(host, &reply).await,
            Err(error) if error.kind().ends_with(CONFLICT_SUFFIX) => {
                if begin.elapsed() > others {
                    return Err(error);
                }
                sleep(POLL_INTERVAL * 5).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the end of the change that an answer names, if it names one.
pub(crate) async fn wait_for_change(host: &Writer, reply: &Value) -> Result<Value, SnapdError> {
    let Some(id) = reply["change"].as_str() else {
        return Ok(Value::Null);
    };
    let begin = Instant::now();
    let mut told = LastProgress::default();
    while begin.elapsed() < CHANGE_TIMEOUT {
        let reader = Reader::new(host.root());
        let change = get(&reader, &format!("/v2/changes/{id}")).await?;
        report_progress(host, &change, &mut told);
        if change["ready"] == true {
            return match change["status"].as_str() {
                Some("Done") => Ok(change["data"].clone()),
                _ => Err(SnapdError::Failed(
                    change["err"]
                        .as_str()
                        .or(change["status"].as_str())
                        .unwrap_or("it gives no reason")
                        .trim()
                        .to_owned(),
                )),
            };
        }
        sleep(POLL_INTERVAL).await;
    }
    Err(SnapdError::TimedOut(
        "the change has not ended",
        CHANGE_TIMEOUT.as_secs(),
    ))
}

/// What was told last of a change.
#[derive(Default)]
struct LastProgress {
    /// The hundredth of each download.
    percents: BTreeMap<String, u64>,
    /// What snapd is doing.
    task: String,
}

/// Tells how far the downloads of a change are, and what snapd is doing.
fn report_progress(host: &Writer, change: &Value, told: &mut LastProgress) {
    let tasks = change["tasks"].as_array().into_iter().flatten();
    for task in tasks.filter(|task| task["status"] == "Doing" || task["kind"] == "download-snap") {
        if task["kind"] != "download-snap" {
            let doing = task["summary"].as_str().unwrap_or_default();
            if told.task != doing {
                host.report_wait(format!("snapd: {doing}"));
                doing.clone_into(&mut told.task);
            }
            continue;
        }
        let progress = &task["progress"];
        let number = |field: &str| progress[field].as_u64().unwrap_or(0);
        let (done, total) = (number("done"), number("total"));
        // A task that has not begun, or that found its file here already, counts to one.
        if done == 0 || total <= 1 {
            continue;
        }
        let hundredth = done.saturating_mul(100) / total;
        let id = task["id"].as_str().unwrap_or_default().to_owned();
        if told.percents.insert(id, hundredth) != Some(hundredth) {
            let label = progress["label"].as_str().unwrap_or_default().to_owned();
            host.emit(StepProgress::Downloading(Download { label, done, total }));
        }
    }
}

/// Asks and returns the result.
pub(crate) async fn get(host: &Reader, path: &str) -> Result<Value, SnapdError> {
    let since = Instant::now();
    loop {
        match host.snapd_get(path).await {
            Ok(reply) => return Ok(parse_response(&reply)?["result"].clone()),
            Err(error) => wait_to_retry(host, since, error).await?,
        }
    }
}

/// Waits a little if it makes sense to ask again: snapd is installed, and has not been away for long.
async fn wait_to_retry(host: &Reader, since: Instant, error: HostError) -> Result<(), SnapdError> {
    let is_away = matches!(error, HostError::Io { .. } | HostError::Service { .. });
    if !is_away {
        return Err(error.into());
    }
    // Its socket stays when its package goes.
    if !has_program(host)? {
        return Err(SnapdError::Missing);
    }
    if is_masked(host).await {
        return Err(SnapdError::Masked);
    }
    if since.elapsed() > SOCKET_RETRY {
        return Err(SnapdError::Unreachable(error));
    }
    sleep(POLL_INTERVAL).await;
    Ok(())
}

/// Whether somebody saw to it that snapd does not listen, as far as systemd can be asked.
async fn is_masked(host: &Reader) -> bool {
    if !host.has_systemd().unwrap_or(false) {
        return false;
    }
    let socket = host.unit(SOCKET_UNIT).await;
    socket.is_ok_and(|socket| socket.load_state == "masked" && socket.active_state != "active")
}

/// Takes an answer apart: the whole document, or what was refused.
pub(crate) fn parse_response(reply: &HttpResponse) -> Result<Value, SnapdError> {
    let document = reply.json();
    if document["type"] == "error" || reply.status >= 400 {
        let result = &document["result"];
        let said = |field: &str| result[field].as_str().unwrap_or_default().to_owned();
        let message = match said("message") {
            message if message.is_empty() => format!("status {}", reply.status),
            message => message,
        };
        return Err(SnapdError::Refused {
            kind: said("kind"),
            message,
        });
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use e2e::{FakeSnapd, Offer, SnapdFault, SnapdState};

    use super::*;
    use crate::files::test_root::TestRoot;

    #[tokio::test]
    async fn conflicting_change_is_awaited_until_the_deadline() {
        let root = TestRoot::new(&[("/run/none", "")]);
        let offer = Offer::microk8s("1.32/stable", "7");
        let world = SnapdState::new((2, 68), vec![offer]);
        let fake = FakeSnapd::start(&root.at("/run/snapd.socket"), world);
        for _ in 0..20 {
            fake.inject(SnapdFault::Conflict);
        }
        let install = json!({"action": "install", "classic": true, "channel": "1.32/stable"});
        let path = "/v2/snaps/microk8s";
        let (begin, deadline) = (Instant::now(), Duration::from_secs(1));
        let refused = change_within(&root.writer(), "POST", path, &install, deadline).await;
        assert_eq!(refused.unwrap_err().kind(), "snap-change-conflict");
        assert!(begin.elapsed() >= deadline, "it has waited");
        let found = installed_snaps(&root.reader(), &["microk8s"])
            .await
            .unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
}
