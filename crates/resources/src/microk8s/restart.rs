//! Restarts of the services of MicroK8s: when one is due, and whether it succeeded.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{address::Address, digest::digest},
    provider::error::ProviderError,
};
use tokio::time::sleep;

use crate::{
    host::{HostError, Reader, UnitStatus, Writer},
    microk8s::{
        kube_proxy::{self, ProxyState},
        layout::{self, KUBERNETES, Layout, SNAP},
    },
    snapd::client,
    systemd::start_record::{load_start_record, store_start_record},
    values::path::provider_error,
};

/// The kind of these restarts.
pub(crate) const KIND: &str = "restart";

/// How long after its start a service may still edit its own files, in microseconds: MicroK8s does that before it starts kubelite.
pub(crate) const STARTUP_EDITS: u64 = 10_000_000;
/// What a service was started with when its files have changed since, and nobody noted what they were.
pub(crate) const OTHER_ARGUMENTS: &str = "other arguments";
/// What a service that does not run was started with.
pub(crate) const NOT_RUNNING: &str = "nothing: it is not running";
/// What a service will have been started with once the run has changed its files.
pub(crate) const PENDING_ARGUMENTS: &str = "the arguments of this run";
/// How often it is looked at.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// After so many starts by itself a service will not come up any more.
pub(crate) const MAX_CRASHES: u32 = 3;
/// systemd puts a link here at each start of a unit: `unit_export_invocation_id` of systemd's `core/unit.c`.
pub(crate) const INVOCATION_LINK: &str = "/run/systemd/units/invocation:";

pub(crate) fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, group)| group)
}

pub(crate) fn unit(service: &str) -> String {
    format!("snap.{SNAP}.{service}.service")
}

/// Digests what the files of a service say; comments, order and what MicroK8s itself sets do not count.
pub(crate) fn inputs_digest(
    host: &Reader,
    layout: &Layout,
    files: &[&str],
) -> Result<String, HostError> {
    let mut inputs = BTreeMap::new();
    for file in files {
        if let Some(args) = layout.read_args(host, file)? {
            let mut flags = args.flags();
            flags.retain(|flag, _| !layout::is_self_managed(file, flag));
            inputs.insert(*file, flags);
        }
    }
    Ok(digest(&inputs))
}

/// Names the units that run with other arguments than their files have, by the names of their groups.
pub(crate) async fn outdated_units(
    host: &Reader,
    layout: &Layout,
) -> Result<BTreeMap<String, Vec<String>>, HostError> {
    let mut due: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in layout::groups() {
        let state = read(host, layout, group).await?;
        let started_with = state.started_with.unwrap_or_default();
        for (service, files) in layout.services(group) {
            let is_with = started_with.get(&service).map(String::as_str);
            let wanted = inputs_digest(host, layout, &files)?;
            if is_with.is_some_and(|with| with != NOT_RUNNING && with != wanted) {
                let units = due.entry(format!("{SNAP}/{group}")).or_default();
                units.push(unit(&service));
            }
        }
    }
    Ok(due)
}

/// Finds out what a process was started with: by the note of its start; else by what kube-proxy tells of itself, and by whether
/// its files are older than it is.
pub(crate) async fn started_inputs(
    host: &Reader,
    layout: &Layout,
    service: &str,
    files: &[&str],
    status: &UnitStatus,
) -> Result<String, HostError> {
    if let Some(digest) = load_start_record(host, service, &status.invocation_id)? {
        return Ok(digest);
    }
    let mut newest = 0;
    for file in files {
        newest = newest.max(host.modified_at(&layout.args(file))?.unwrap_or(0));
    }
    if newest > status.started_at + STARTUP_EDITS {
        return Ok(OTHER_ARGUMENTS.to_owned());
    }
    if files.contains(&"kube-proxy")
        && let ProxyState::Differs(_) = kube_proxy::query_state(host, layout).await?
    {
        return Ok(OTHER_ARGUMENTS.to_owned());
    }
    inputs_digest(host, layout, files)
}

/// Notes what the service that reads a file was started with, before that file changes: afterwards nobody could tell for sure.
pub(crate) async fn record_start(host: &Writer, file: &str) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let group = layout::group(file).unwrap_or(file);
    let Some(layout) = Layout::find(&reader)? else {
        return Ok(());
    };
    if !reader.has_systemd()? {
        return Ok(());
    }
    for (service, files) in layout.services(group) {
        let status = reader.unit(&unit(&service)).await?;
        if files.contains(&file) && status.active_state == "active" {
            let digest = started_inputs(&reader, &layout, &service, &files, &status).await?;
            store_start_record(host, &service, status.invocation_id, digest)?;
        }
    }
    Ok(())
}

/// Restarts services, waits until they are healthy, for at most `within` seconds, and notes what they were started with.
pub(crate) async fn restart(
    host: &Writer,
    name: &str,
    due: &[String],
    within: Option<i64>,
) -> Result<(), ProviderError> {
    let timeout = Duration::from_secs(within.unwrap_or(DEFAULT_WITHIN).try_into().unwrap_or(0));
    let reader = || Reader::new(host.root());
    let shown = due.join(" and ");
    let attempted = format!("restart {shown}");
    let refused = provider_error(KIND, name, &attempted);
    let Some(layout) = Layout::find(&reader()).map_err(&refused)? else {
        return Ok(());
    };
    let services = layout.services(group(name));
    let mut digests = vec![];
    for service in due {
        let files = services.get(service).cloned().unwrap_or_default();
        digests.push(inputs_digest(&reader(), &layout, &files).map_err(&refused)?);
    }
    let names: Vec<_> = due
        .iter()
        .map(|service| format!("{SNAP}.{service}"))
        .collect();
    let address = Address::new(KIND, name);
    client::restart_services(host, &names)
        .await
        .map_err(client::provider_error(KIND, name, &attempted))?;
    wait_until_healthy(host, &layout, group(name), due, timeout)
        .await
        .map_err(|fault| {
            let log = format!("its log: `journalctl --unit {}`", unit(&due[0]));
            ProviderError::new(address, format!("start {shown}"), fault).help(log)
        })?;
    for (service, digest) in due.iter().zip(digests) {
        let status = reader().unit(&unit(service)).await.map_err(&refused)?;
        store_start_record(host, service, status.invocation_id, digest).map_err(&refused)?;
    }
    Ok(())
}

/// Waits until services run, the API server is ready and kube-proxy tells the mode of its arguments.
pub(crate) async fn wait_until_healthy(
    writer: &Writer,
    layout: &Layout,
    group: &str,
    due: &[String],
    timeout: Duration,
) -> Result<(), String> {
    let host = &Reader::new(writer.root());
    let begin = Instant::now();
    let mut reported = String::new();
    loop {
        let mut services = vec![];
        for service in due {
            let status = host.unit(&unit(service)).await;
            services.push((service, status.map_err(|error| error.to_string())?));
        }
        let down = services.iter().find(|(_, it)| it.active_state != "active");
        let fault = match down {
            Some((service, status)) => Some(format!("{service} is {}", status.active_state)),
            None => health_problem(host, layout, group)
                .await
                .unwrap_or_else(|error| Some(error.to_string())),
        };
        let Some(fault) = fault else {
            return Ok(());
        };
        let has_given_up =
            |status: &UnitStatus| status.active_state == "failed" || status.restarts >= MAX_CRASHES;
        if let Some((service, _)) = services.iter().find(|(_, it)| has_given_up(it)) {
            return Err(format!("{service} keeps failing: {fault}"));
        }
        if begin.elapsed() > timeout {
            return Err(format!("after {} s {fault}", timeout.as_secs()));
        }
        if reported != fault {
            writer.report_wait(&fault);
            reported = fault;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Says what is not as it should be yet, in a group whose services run.
pub(crate) async fn health_problem(
    host: &Reader,
    layout: &Layout,
    group: &str,
) -> Result<Option<String>, HostError> {
    if group != KUBERNETES {
        return Ok(None);
    }
    if !layout.is_worker
        && let Some(kubeconfig) = layout.kubeconfig(host)?
    {
        let said = host.cluster_get(&kubeconfig, "/readyz").await?;
        if said.trim() != "ok" {
            return Ok(Some(format!("the API server says {said:?}")));
        }
    }
    Ok(match kube_proxy::query_state(host, layout).await? {
        ProxyState::Matches => None,
        ProxyState::Differs(other) => Some(other),
        ProxyState::Silent => Some("kube-proxy does not answer".to_owned()),
    })
}

/// How long a service may take until it is healthy, unless written, in seconds. kubelite waits for the API server for up to 360 s, but
/// not on a host that works.
pub(crate) const DEFAULT_WITHIN: i64 = 180;

/// State of the services of a group.
///
/// ```kdl
/// restart "microk8s/kubernetes" within=60
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// For each service a digest of the arguments that it was started with.
    pub(crate) started_with: Option<BTreeMap<String, String>>,
    /// Seconds that they may take until they are healthy.
    pub(crate) within: Option<i64>,
}

pub(crate) async fn read(host: &Reader, layout: &Layout, group: &str) -> Result<State, HostError> {
    let mut started_with = BTreeMap::new();
    for (service, files) in layout.services(group) {
        let status = host.unit(&unit(&service)).await?;
        let digest = match status.active_state.as_str() {
            "active" | "activating" | "reloading" => {
                started_inputs(host, layout, &service, &files, &status).await?
            }
            _ => NOT_RUNNING.to_owned(),
        };
        started_with.insert(service, digest);
    }
    Ok(State {
        started_with: Some(started_with),
        ..State::default()
    })
}
