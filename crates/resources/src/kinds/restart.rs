//! The kind `restart`: what the services of MicroK8s were started with. A restart is due when that is not what their files say.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::Gap,
        digest::digest,
        listing::Listing,
        schema::{Absence, Attribute, Problem, Role, Schema, Shape},
    },
    provider::traits::{Provider, ProviderError},
};
use tokio::time::sleep;

use crate::{
    host::{HostError, Live, Reader, Trigger, UnitStatus, Writer},
    microk8s::{
        kube_proxy::{self, Told},
        layout::{self, KUBERNETES, Layout, SNAP},
    },
    snapd::client,
    systemd::start_record::{note, noted},
    values::path::refused,
};

/// How long after its start a service may still edit its own files, in microseconds: MicroK8s does that before it starts kubelite.
const OWN_EDITS: u64 = 10_000_000;
/// What a service was started with when its files have changed since, and nobody noted what they were.
const OTHER: &str = "other arguments";
/// What a service that does not run was started with.
const NOTHING: &str = "nothing: it does not run";
/// What a service will have been started with once the run has changed its files.
const PENDING: &str = "the arguments of this run";
/// How long a service may take until it is healthy, unless written, in seconds. kubelite waits for the API server for up to 360 s, but
/// not on a host that works.
const WITHIN: i64 = 180;
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// After so many starts by itself a service will not come up any more.
const CRASHES: u32 = 3;
/// How long such a restart takes, in milliseconds: an estimate for the plan.
const OUTAGE: u64 = 20_000;

/// systemd puts a link here at each start of a unit: `unit_export_invocation_id` of systemd's `core/unit.c`.
const STARTED: &str = "/run/systemd/units/invocation:";

/// The kind `restart`.
pub(crate) struct Restart;

/// State of the services of a group.
///
/// ```kdl
/// restart "microk8s/kubernetes" within=60
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// For each service a digest of the arguments that it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_with: Option<BTreeMap<String, String>>,
    /// Seconds that they may take until they are healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<i64>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "within",
        Shape::Integer,
        Role::Input,
        "Seconds that the services may take until they are healthy, or the run goes back; 180 unless written.",
    ),
    Attribute::new(
        "started_with",
        Shape::Text,
        Role::Derived,
        "For each service a digest of the arguments that it was started with.",
    ),
];

impl Provider<Live> for Restart {
    const KIND: &'static str = "restart";
    const NEEDS_INIT: bool = true;
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
            example: "restart \"microk8s/kubernetes\" within=60\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        let groups = layout::groups();
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

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        match desired.within {
            Some(within) if within < 0 => {
                vec![Problem::new("a time is not negative").at("within")]
            }
            _ => vec![],
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

    async fn suggest(&self, _host: &Reader, _name: &str, gap: &Gap) -> Vec<String> {
        match gap {
            Gap::Name => layout::groups()
                .iter()
                .map(|group| format!("{SNAP}/{group}"))
                .collect(),
            _ => vec![],
        }
    }

    async fn list(&self, _host: &Reader) -> Result<Listing, ProviderError> {
        Ok(Listing::outside("it comes with what it restarts"))
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
            let within = change.after().and_then(|state| state.within);
            restart(host, name, &due, within).await?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        let files = layout::files().filter(|file| layout::group(file) == Some(group(name)));
        let feeding = files.map(|file| Address::new("kube-args", file));
        feeding.chain([Address::new("snap", SNAP)]).collect()
    }

    fn disturbed(&self, _name: &str, before: &State, by: &[&Address]) -> Option<State> {
        let mut started_with = before.started_with.clone()?;
        let is_kubelite = started_with.contains_key(&layout::service(true, "kubelite"));
        let mut is_due = false;
        for address in by.iter().filter(|address| address.kind == "kube-args") {
            let service = layout::service(is_kubelite, &address.name);
            started_with.insert(service, PENDING.to_owned());
            is_due = true;
        }
        is_due.then_some(State {
            started_with: Some(started_with),
            within: before.within,
        })
    }

    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        let services = layout::possible_services(group(name)).into_iter();
        let started = services.map(|service| format!("{STARTED}{}", unit(&service)));
        started.map(|path| Trigger::Path(path.into())).collect()
    }

    fn places(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
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
            flags.retain(|flag, _| !layout::is_own(file, flag));
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
        ..State::default()
    })
}

/// Names the units that run with other arguments than their files have, by the names of their groups.
pub(crate) async fn due(
    host: &Reader,
    layout: &Layout,
) -> Result<BTreeMap<String, Vec<String>>, HostError> {
    let mut due: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in layout::groups() {
        let state = read(host, layout, group).await?;
        let started_with = state.started_with.unwrap_or_default();
        for (service, files) in layout.services(group) {
            let is_with = started_with.get(&service).map(String::as_str);
            let wanted = inputs(host, layout, &files)?;
            if is_with.is_some_and(|with| with != NOTHING && with != wanted) {
                let units = due.entry(format!("{SNAP}/{group}")).or_default();
                units.push(unit(&service));
            }
        }
    }
    Ok(due)
}

/// Finds out what a process was started with: by the note of its start; else by what kube-proxy tells of itself, and by whether
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
        && let Told::Other(_) = kube_proxy::ask(host, layout).await?
    {
        return Ok(OTHER.to_owned());
    }
    inputs(host, layout, files)
}

/// Notes what the service that reads a file was started with, before that file changes: afterwards nobody could tell for sure.
pub(crate) async fn note_start(host: &Writer, file: &str) -> Result<(), HostError> {
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
        if files.contains(&file) && status.active == "active" {
            let digest = evidence(&reader, &layout, &service, &files, &status).await?;
            note(host, &service, status.invocation, digest)?;
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
    let patience = Duration::from_secs(within.unwrap_or(WITHIN).try_into().unwrap_or(0));
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
    client::restart(host, &names)
        .await
        .map_err(client::refused(Restart::KIND, name, &attempted))?;
    healthy(host, &layout, group(name), due, patience)
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
    writer: &Writer,
    layout: &Layout,
    group: &str,
    due: &[String],
    patience: Duration,
) -> Result<(), String> {
    let host = &Reader::new(writer.root());
    let begin = Instant::now();
    let mut told = String::new();
    loop {
        let mut services = vec![];
        for service in due {
            let status = host.unit(&unit(service)).await;
            services.push((service, status.map_err(|error| error.to_string())?));
        }
        let down = services.iter().find(|(_, it)| it.active != "active");
        let fault = match down {
            Some((service, status)) => Some(format!("{service} is {}", status.active)),
            None => look(host, layout, group)
                .await
                .unwrap_or_else(|error| Some(error.to_string())),
        };
        let Some(fault) = fault else {
            return Ok(());
        };
        let has_given_up =
            |status: &UnitStatus| status.active == "failed" || status.restarts >= CRASHES;
        if let Some((service, _)) = services.iter().find(|(_, it)| has_given_up(it)) {
            return Err(format!("{service} ends again and again: {fault}"));
        }
        if begin.elapsed() > patience {
            return Err(format!("after {} s {fault}", patience.as_secs()));
        }
        if told != fault {
            writer.waits_for(&fault);
            told = fault;
        }
        sleep(PAUSE).await;
    }
}

/// Says what is not as it should be yet, in a group whose services run.
async fn look(host: &Reader, layout: &Layout, group: &str) -> Result<Option<String>, HostError> {
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
    Ok(match kube_proxy::ask(host, layout).await? {
        Told::Same => None,
        Told::Other(other) => Some(other),
        Told::Nothing => Some("kube-proxy does not answer".to_owned()),
    })
}
