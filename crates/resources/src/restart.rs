//! The kind `restart`: what the services of MicroK8s were started with. A restart is due when that is not what their files say.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use stead_engine::{
    address::Address,
    change::{Change, Effects},
    digest::digest,
    provider::{Provider, ProviderError},
    schema::{Absence, Attribute, Problem, Role, Schema, Shape},
};
use tokio::time::sleep;

use crate::{
    host::{HostError, Live, Reader, UnitStatus, Writer},
    microk8s::{self, KUBERNETES, Layout, SNAP},
    path::refused,
    snapd,
    start_note::{note, noted},
};

/// How long after its start a service may still edit its own files, in microseconds: MicroK8s does that before it starts kubelite.
const OWN_EDITS: u64 = 10_000_000;
/// What a service was started with when its files have changed since, and nobody noted what they were.
const OTHER: &str = "other arguments";
/// What a service that does not run was started with.
const NOTHING: &str = "nothing: it does not run";
/// What a service will have been started with once the run has changed its files.
const PENDING: &str = "the arguments of this run";
/// How long a service may take until it is healthy. kubelite waits for the API server for up to 360 s, but not on a host that works.
const HEALTHY: Duration = Duration::from_mins(3);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// After so many starts by itself a service will not come up any more.
const CRASHES: u32 = 3;
/// How long such a restart takes, in milliseconds: an estimate for the plan.
const OUTAGE: u64 = 20_000;
/// Where kube-proxy tells its mode: `cmd/kube-proxy/app/server.go` of Kubernetes.
const PROXY_PORT: u16 = 10249;
/// The mode of a kube-proxy without a flag.
const DEFAULT_MODE: &str = "iptables";

/// The kind `restart`.
pub(crate) struct Restart;

/// State of the services of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// For each service a digest of the arguments that it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_with: Option<BTreeMap<String, String>>,
}

const ATTRIBUTES: &[Attribute] = &[Attribute::new(
    "started_with",
    Shape::Text,
    Role::Derived,
    "For each service a digest of the arguments that it was started with.",
)];

impl Provider<Live> for Restart {
    const KIND: &'static str = "restart";
    const RESTARTS: bool = true;
    const IS_RUNTIME: bool = true;
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "Services of MicroK8s run with the arguments that their files have. `kube-args` brings it with it.",
            name: "microk8s/group",
            main: None,
            attributes: ATTRIBUTES,
            absence: Absence::Refused("a service always runs with something; take this away"),
            example: "restart \"microk8s/kubernetes\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let groups = microk8s::groups();
        match name.split_once('/') {
            Some((SNAP, group)) if groups.contains(&group) => Ok(()),
            _ => {
                let known: Vec<_> = groups
                    .iter()
                    .map(|group| format!("{SNAP}/{group}"))
                    .collect();
                Err(
                    Problem::new(format!("`{name}` is no group of services that stead knows"))
                        .help(format!("they are {}", known.join(", "))),
                )
            }
        }
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        if desired.started_with.is_none() {
            let layout = Layout::running(host)?;
            let digests = layout
                .services(group(name))
                .into_iter()
                .map(|(service, files)| Ok((service, inputs(host, &layout, &files)?)))
                .collect::<Result<_, HostError>>()
                .map_err(|error| vec![Problem::new(error.to_string())])?;
            desired.started_with = Some(digests);
        }
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let mut states = vec![];
        for name in names {
            let refused = refused(Self::KIND, name, "see what it was started with");
            let layout = Layout::find(host).map_err(&refused)?;
            states.push(match layout {
                Some(layout) if host.has_systemd().map_err(&refused)? => {
                    Some(read(host, &layout, group(name)).await.map_err(&refused)?)
                }
                _ => None,
            });
        }
        Ok(states)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let before = change.before().and_then(|state| state.started_with.clone());
            let after = change.after().and_then(|state| state.started_with.clone());
            let before = before.unwrap_or_default();
            let due: Vec<_> = after
                .unwrap_or_default()
                .into_iter()
                .filter(|(service, digest)| before.get(service) != Some(digest))
                .map(|(service, _)| service)
                .collect();
            restart(host, name, &due).await?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("snap", SNAP)]
    }

    fn disturbed(&self, _name: &str, before: &State, by: &[&Address]) -> Option<State> {
        let mut started_with = before.started_with.clone()?;
        let is_kubelite = started_with.contains_key(&microk8s::service(true, "kubelite"));
        let mut is_due = false;
        for address in by.iter().filter(|address| address.kind == "kube-args") {
            let service = microk8s::service(is_kubelite, &address.name);
            started_with.insert(service, PENDING.to_owned());
            is_due = true;
        }
        is_due.then_some(State {
            started_with: Some(started_with),
        })
    }

    fn effects(&self, _name: &str, change: &Change<State>) -> Effects {
        let services = |state: Option<&State>| {
            state
                .and_then(|state| state.started_with.clone())
                .unwrap_or_default()
        };
        let (before, after) = (services(change.before()), services(change.after()));
        let due = after
            .into_iter()
            .filter(|(service, digest)| before.get(service) != Some(digest));
        let restarts: Vec<_> = due.map(|(service, _)| unit(&service)).collect();
        Effects {
            outage: if restarts.is_empty() { 0 } else { OUTAGE },
            restarts,
            ..Effects::default()
        }
    }
}

fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, group)| group)
}

fn unit(service: &str) -> String {
    format!("snap.{SNAP}.{service}.service")
}

/// Digests what the files of a service say; comments, order and what MicroK8s itself sets do not count.
fn inputs(host: &Reader, layout: &Layout, files: &[&str]) -> Result<String, HostError> {
    let mut inputs = BTreeMap::new();
    for file in files {
        if let Some(args) = layout.read_args(host, file)? {
            let mut flags = args.flags();
            flags.retain(|flag, _| !microk8s::is_own(file, flag));
            inputs.insert(*file, flags);
        }
    }
    Ok(digest(&inputs))
}

async fn read(host: &Reader, layout: &Layout, group: &str) -> Result<State, HostError> {
    let mut started_with = BTreeMap::new();
    for (service, files) in layout.services(group) {
        let status = host.unit(&unit(&service)).await?;
        let digest = match status.active.as_str() {
            "active" | "activating" | "reloading" => {
                evidence(host, layout, &service, &files, &status).await?
            }
            _ => NOTHING.to_owned(),
        };
        started_with.insert(service, digest);
    }
    Ok(State {
        started_with: Some(started_with),
    })
}

/// Finds out what a process was started with: by the note of its start; else by the mode that kube-proxy tells, and by whether
/// its files are older than it is.
async fn evidence(
    host: &Reader,
    layout: &Layout,
    service: &str,
    files: &[&str],
    status: &UnitStatus,
) -> Result<String, HostError> {
    if let Some(digest) = noted(host, service, &status.invocation)? {
        return Ok(digest);
    }
    let mut newest = 0;
    for file in files {
        newest = newest.max(host.modified(&layout.args(file))?.unwrap_or(0));
    }
    if newest > status.started + OWN_EDITS {
        return Ok(OTHER.to_owned());
    }
    if files.contains(&"kube-proxy")
        && let Some(told) = told_mode(host, layout).await?
        && told != wanted_mode(host, layout)?
    {
        return Ok(OTHER.to_owned());
    }
    inputs(host, layout, files)
}

/// Returns the mode that kube-proxy tells; `None` if it does not answer.
async fn told_mode(host: &Reader, layout: &Layout) -> Result<Option<String>, HostError> {
    let args = layout.read_args(host, "kube-proxy")?;
    let flags = args.map(|args| args.flags()).unwrap_or_default();
    let address = flags.get("metrics-bind-address").cloned().flatten();
    let port = match address.as_deref() {
        Some(address) => match address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
        {
            Some(port) => port,
            None => return Ok(None),
        },
        None => PROXY_PORT,
    };
    let reply = host.loopback(port, "/proxyMode").await.ok();
    Ok(reply
        .filter(|reply| reply.status == 200)
        .map(|reply| String::from_utf8_lossy(&reply.body).trim().to_owned()))
}

fn wanted_mode(host: &Reader, layout: &Layout) -> Result<String, HostError> {
    let args = layout.read_args(host, "kube-proxy")?;
    let mode = args.and_then(|args| args.flags().remove("proxy-mode").flatten());
    Ok(mode.unwrap_or_else(|| DEFAULT_MODE.to_owned()))
}

/// Notes what the service that reads a file was started with, before that file changes: afterwards nobody could tell for sure.
pub(crate) async fn note_start(host: &Writer, file: &str) -> Result<(), HostError> {
    let reader = Reader::new(host.root());
    let group = microk8s::group(file).unwrap_or(file);
    let Some(layout) = Layout::find(&reader)? else {
        return Ok(());
    };
    if !reader.has_systemd()? {
        return Ok(());
    }
    for (service, files) in layout.services(group) {
        let status = reader.unit(&unit(&service)).await?;
        if files.contains(&file) && status.active == "active" {
            let digest = evidence(&reader, &layout, &service, &files, &status).await?;
            note(host, &service, status.invocation, digest)?;
        }
    }
    Ok(())
}

/// Restarts services, waits until they are healthy, and notes what they were started with.
async fn restart(host: &Writer, name: &str, due: &[String]) -> Result<(), ProviderError> {
    let reader = || Reader::new(host.root());
    let shown = due.join(" and ");
    let attempted = format!("restart {shown}");
    let refused = refused(Restart::KIND, name, &attempted);
    let Some(layout) = Layout::find(&reader()).map_err(&refused)? else {
        return Ok(());
    };
    let services = layout.services(group(name));
    let mut digests = vec![];
    for service in due {
        let files = services.get(service).cloned().unwrap_or_default();
        digests.push(inputs(&reader(), &layout, &files).map_err(&refused)?);
    }
    let names: Vec<_> = due
        .iter()
        .map(|service| format!("{SNAP}.{service}"))
        .collect();
    let address = Address::new(Restart::KIND, name);
    snapd::restart(host, &names)
        .await
        .map_err(|error| ProviderError::new(address.clone(), &*attempted, error))?;
    healthy(&reader(), &layout, group(name), due)
        .await
        .map_err(|fault| {
            let log = format!("its log: `journalctl --unit {}`", unit(&due[0]));
            ProviderError::new(address, format!("bring {shown} up"), fault).help(log)
        })?;
    for (service, digest) in due.iter().zip(digests) {
        let status = reader().unit(&unit(service)).await.map_err(&refused)?;
        note(host, service, status.invocation, digest).map_err(&refused)?;
    }
    Ok(())
}

/// Waits until services run, the API server is ready and kube-proxy tells the mode of its arguments.
async fn healthy(
    host: &Reader,
    layout: &Layout,
    group: &str,
    due: &[String],
) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let fault = match look(host, layout, group, due).await {
            Ok(None) => return Ok(()),
            Ok(Some(fault)) => fault,
            Err(error) => error.to_string(),
        };
        for service in due {
            let status = host
                .unit(&unit(service))
                .await
                .map_err(|error| error.to_string())?;
            if status.active == "failed" || status.restarts >= CRASHES {
                return Err(format!("{service} ends again and again: {fault}"));
            }
        }
        if begin.elapsed() > HEALTHY {
            return Err(format!("after {} s {fault}", HEALTHY.as_secs()));
        }
        sleep(PAUSE).await;
    }
}

/// Says what is not as it should be yet.
async fn look(
    host: &Reader,
    layout: &Layout,
    group: &str,
    due: &[String],
) -> Result<Option<String>, HostError> {
    for service in due {
        let status = host.unit(&unit(service)).await?;
        if status.active != "active" {
            return Ok(Some(format!("{service} is {}", status.active)));
        }
    }
    if group != KUBERNETES {
        return Ok(None);
    }
    if !layout.is_worker
        && let Some(kubeconfig) = layout.kubeconfig(host)?
    {
        let said = host.ask_cluster(&kubeconfig, "/readyz").await?;
        if said.trim() != "ok" {
            return Ok(Some(format!("the API server says {said:?}")));
        }
    }
    let wanted = wanted_mode(host, layout)?;
    Ok(match told_mode(host, layout).await? {
        Some(told) if told == wanted => None,
        Some(told) => Some(format!("kube-proxy runs in the mode {told}, not {wanted}")),
        None => Some("kube-proxy does not answer".to_owned()),
    })
}
