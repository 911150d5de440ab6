//! The kind `restart`: what the services of MicroK8s were started with. A restart is due when that differs from their files.

use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::CompletionTarget,
        listing::Listing,
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Completable, Footprint, Importable, Reactive, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    host::{HostError, LinuxHost, Reader, Trigger, Writer},
    microk8s::{
        layout::{self, Layout, SNAP},
        restart::{
            INVOCATION_LINK, PENDING_ARGUMENTS, State, group, inputs_digest, read, restart, unit,
        },
    },
    values::path::provider_error,
};

/// How long such a restart takes, in milliseconds: an estimate for the plan.
const OUTAGE: u64 = 20_000;

/// The kind `restart`.
pub(crate) struct Restart;

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "within",
        Shape::Integer,
        Role::Input,
        "Seconds until the services must be healthy, else the run is rolled back. Default: 180.",
    ),
    Attribute::new(
        "started_with",
        Shape::Text,
        Role::Derived,
        "For each service a digest of the arguments that it was started with.",
    ),
];

impl Provider<LinuxHost> for Restart {
    const KIND: &'static str = crate::microk8s::restart::KIND;
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .importable()
        .completable()
        .reactive()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "Restarts MicroK8s services that run with outdated arguments. Added by `kube-args`.",
            name: "microk8s/group",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                is_restart: true,
                is_runtime: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Refused("a service always has arguments; remove this"),
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
                Err(Problem::new(format!(
                    "`{name}` is not a group of services that stead knows"
                ))
                .help(format!("they are {}", known.join(", "))))
            }
        }
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        match desired.within {
            Some(within) if within < 0 => {
                vec![Problem::new("a time must not be negative").at("within")]
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
                .map(|(service, files)| Ok((service, inputs_digest(host, &layout, &files)?)))
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
            let refused = provider_error(
                Self::KIND,
                name,
                "read the arguments that it was started with",
            );
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

impl Importable<LinuxHost> for Restart {
    async fn list(&self, _host: &Reader) -> Result<Listing, ProviderError> {
        Ok(Listing::not_importable(
            "not importable: added by what it restarts",
        ))
    }
}

impl Completable<LinuxHost> for Restart {
    async fn complete(&self, _host: &Reader, _name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => layout::groups()
                .iter()
                .map(|group| format!("{SNAP}/{group}"))
                .collect(),
            _ => vec![],
        }
    }
}

impl Reactive<LinuxHost> for Restart {
    fn after_dependency_change(
        &self,
        _name: &str,
        before: &State,
        by: &[&Address],
    ) -> Option<State> {
        let mut started_with = before.started_with.clone()?;
        let is_kubelite = started_with.contains_key(&layout::service(true, "kubelite"));
        let mut is_due = false;
        for address in by.iter().filter(|address| address.kind == "kube-args") {
            let service = layout::service(is_kubelite, &address.name);
            started_with.insert(service, PENDING_ARGUMENTS.to_owned());
            is_due = true;
        }
        is_due.then_some(State {
            started_with: Some(started_with),
            within: before.within,
        })
    }
}

impl Watchable<LinuxHost> for Restart {
    fn triggers(&self, name: &str, _desired: Option<&State>) -> Vec<Trigger> {
        let services = layout::possible_services(group(name)).into_iter();
        let started = services.map(|service| format!("{INVOCATION_LINK}{}", unit(&service)));
        started.map(|path| Trigger::Path(path.into())).collect()
    }
}

impl Footprint<LinuxHost> for Restart {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
    }
}
