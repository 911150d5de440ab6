//! The kind `addons`: which addons of MicroK8s are enabled, and with which arguments.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::CompletionTarget,
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Completable, Footprint, Importable, Reversible},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    host::{HostError, LinuxHost, ObjectIdentity, Reader, Writer},
    microk8s::{
        addons::{
            catalog::{COMMUNITY, Catalog, StatusCheck},
            cluster::{AddonStatus, Cluster, ClusterView, EnabledBy},
            export, repositories, suggest,
            switch::{self, AddonError, Leftovers},
        },
        layout::{KUBERNETES, Layout, SNAP},
    },
    values::path::provider_error,
};

/// Addons whose scripts restart kubelite: `addons/*/{enable,disable}` of `canonical/microk8s-core-addons`.
const RESTARTING_ADDONS: [&str; 2] = ["core/dns", "core/rbac"];
/// How long it is away then, in milliseconds: an estimate for the plan.
const OUTAGE: u64 = 20_000;
/// Addons that others want to be there first.
const ENABLED_FIRST: [&str; 4] = [
    "core/community",
    "core/dns",
    "core/rbac",
    "core/hostpath-storage",
];

/// The kind `addons`.
pub(crate) struct Addons;

/// State of the addons.
///
/// ```kdl
/// addons "microk8s" exclusive=#true {
///     dns "1.1.1.1,8.8.8.8"
///     hostpath-storage
///     "community/portainer"
///     dashboard #null
/// }
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// Enabled addons with their arguments, by `repository/name`; `None` is one that shall not be enabled.
    addons: Option<BTreeMap<String, Option<Vec<String>>>>,
    exclusive: Option<bool>,
    /// What stead recorded of those that it enabled.
    objects: Option<BTreeMap<String, Vec<ObjectIdentity>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "addons",
        Shape::Entries,
        Role::Managed,
        "Enabled addons, each with its arguments; `#null` for a disabled one. Write \"repository/addon\" if several repositories have it. To change arguments, stead disables the addon and enables it again.",
    ),
    Attribute::new(
        "exclusive",
        Shape::Flag,
        Role::Input,
        "Disables addons that stead enabled and the spec no longer lists, and reports addons that others enabled.",
    ),
    Attribute::new(
        "objects",
        Shape::Map,
        Role::Context,
        "The cluster objects that enabling it created.",
    ),
    Attribute::new(
        "remarks",
        Shape::List,
        Role::Remark,
        "Differences between what MicroK8s reports and what stead detects.",
    ),
];

impl Provider<LinuxHost> for Addons {
    const KIND: &'static str = "addons";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .completable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "Addons of MicroK8s, detected by the objects they create, not by similar names.",
            name: "microk8s",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Refused(
                "write `ADDON #null` for each that must be disabled, or `exclusive=#true` for all that stead enabled",
            ),
            example: "addons \"microk8s\" exclusive=#true {\n    dns \"1.1.1.1,8.8.8.8\"\n    hostpath-storage\n}\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        if name == SNAP {
            return Ok(());
        }
        let message = format!("`{name}` is not a cluster whose addons stead manages");
        Err(Problem::new(message).help(format!("write `addons \"{SNAP}\"`")))
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        let mut problems = vec![];
        for (addon, arguments) in desired.addons.iter().flatten() {
            for argument in arguments.iter().flatten() {
                if argument.chars().any(char::is_control) {
                    let message = "an argument of an addon must not contain control characters";
                    problems.push(Problem::new(message).at(addon));
                }
                // `microk8s enable X --help` prints a text, does nothing and calls that a success.
                if matches!(&**argument, "--help" | "-h") {
                    let message = format!("`{argument}` only prints a text");
                    problems.push(Problem::new(message).at(addon).help("remove it"));
                }
            }
            if let Some((repository, bare)) = addon.split_once(':') {
                let message = format!("`{addon}` contains a colon");
                let help = format!("write `{repository} \"{bare}\"`: arguments follow the name");
                problems.push(Problem::new(message).at(addon).help(help));
            }
        }
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        _name: &str,
        desired: State,
    ) -> Result<State, Vec<Problem>> {
        if desired.objects.is_some() {
            return Ok(desired);
        }
        let layout = Layout::running(host)?;
        if layout.is_worker {
            let message = "this node is a worker of another cluster";
            return Err(vec![
                Problem::new(message)
                    .help("write the addons on the node that runs the control plane"),
            ]);
        }
        let failed = |error: HostError| vec![Problem::new(error.to_string())];
        let Some(catalogue) = Catalog::read(host, &layout).map_err(failed)? else {
            let message = "this MicroK8s has no repositories of addons: it is older than 1.24";
            return Err(vec![
                Problem::new(message)
                    .help("refresh it: `snap \"microk8s\" channel=\"1.32/stable\"`"),
            ]);
        };
        let addons = resolve_names(&catalogue, desired.addons.unwrap_or_default())?;
        let mut prepared = State {
            addons: Some(addons),
            ..State::default()
        };
        if let ClusterView::Cluster(cluster) = Cluster::read(host).await.map_err(failed)? {
            complete(&cluster, &mut prepared, desired.exclusive == Some(true));
            let problems = cluster.blocking_risks(prepared.addons.iter().flatten());
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        Ok(prepared)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let seen = Cluster::read(host).await.map_err(|error| {
            provider_error(Self::KIND, names[0], "list the enabled addons")(error)
                .help("check MicroK8s: `microk8s status --wait-ready`")
        })?;
        let state = match seen {
            ClusterView::NotInstalled => None,
            ClusterView::Unknown => Some(State::default()),
            ClusterView::Cluster(cluster) => Some(observed(&cluster)),
        };
        Ok(vec![state; names.len()])
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (_, change) in changes {
            apply_all(host, &change, Leftovers::Keep).await?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, desired: &State) -> Vec<Address> {
        let addons = desired.addons.iter().flatten();
        let repositories = addons.filter_map(|(addon, _)| addon.split_once('/'));
        let repositories: BTreeSet<&str> = repositories.map(|(name, _)| name).collect();
        let mut needs = vec![
            Address::new("snap", name),
            Address::new("restart", format!("{name}/{KUBERNETES}")),
        ];
        needs.extend(
            repositories
                .into_iter()
                .map(|repository| Address::new(repositories::KIND, repository)),
        );
        needs
    }

    fn effects(&self, _name: &str, change: &Change<State>) -> Effects {
        let moves = AddonChanges::of(change);
        let is_restarting = |addon: &String| {
            RESTARTING_ADDONS.iter().any(|full| {
                *full == addon.as_str()
                    || full.split_once('/').is_some_and(|(_, bare)| bare == *addon)
            })
        };
        let touched = || moves.disabled.iter().chain(moves.enabled.keys());
        let is_restart = touched().any(|addon| is_restarting(addon));
        Effects {
            restarts: if is_restart {
                vec![format!("snap.{SNAP}.daemon-kubelite.service")]
            } else {
                vec![]
            },
            outage: if is_restart { OUTAGE } else { 0 },
            irreversible: data_lost(change.before(), &moves),
            ..Effects::default()
        }
    }
}

impl Reversible<LinuxHost> for Addons {
    async fn roll_back(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (_, change) in changes {
            apply_all(host, &change, Leftovers::Remove).await?;
        }
        Ok(())
    }

    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        switch::clean_up_all(host).await.map_err(|error| {
            let attempted = "roll back what was half enabled".to_owned();
            failed(name, attempted, error)
        })
    }
}

impl Importable<LinuxHost> for Addons {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let attempted = "list the enabled addons";
        export::list_enabled(host)
            .await
            .map_err(provider_error(Self::KIND, SNAP, attempted))
    }

    async fn export(
        &self,
        host: &Reader,
        name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        let addons = export::export_addons(host, state.addons.unwrap_or_default()).await;
        let addons = addons.map_err(provider_error(Self::KIND, name, "list the enabled addons"))?;
        Ok(addons.map(|addons| State {
            addons: Some(addons),
            ..State::default()
        }))
    }
}

impl Completable<LinuxHost> for Addons {
    async fn complete(&self, host: &Reader, _name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => suggest::clusters(),
            CompletionTarget::Key(_) => suggest::addons(host),
            _ => vec![],
        }
    }
}

impl Footprint<LinuxHost> for Addons {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec!["/var/snap/microk8s/*".to_owned()]
    }
}

/// Which addons go and come, and in which order.
struct AddonChanges<'a> {
    disabled: Vec<&'a String>,
    enabled: BTreeMap<&'a String, &'a [String]>,
}

impl<'a> AddonChanges<'a> {
    fn of(change: &'a Change<State>) -> Self {
        fn enabled(state: Option<&State>) -> BTreeMap<&String, &[String]> {
            let addons = state.and_then(|state| state.addons.as_ref());
            let addons = addons.into_iter().flatten();
            addons
                .filter_map(|(addon, arguments)| Some((addon, arguments.as_deref()?)))
                .collect()
        }
        let (before, mut come) = (enabled(change.before()), enabled(change.after()));
        let disabled = before
            .iter()
            .filter(|(addon, arguments)| come.get(*addon) != Some(*arguments))
            .map(|(addon, _)| *addon)
            .collect();
        come.retain(|addon, arguments| before.get(addon) != Some(arguments));
        Self {
            disabled,
            enabled: come,
        }
    }

    /// Names those that come, those first that others want.
    fn enable_order(&self) -> Vec<&'a String> {
        let place = |addon: &str| ENABLED_FIRST.iter().position(|first| *first == addon);
        let mut addons: Vec<_> = self.enabled.keys().copied().collect();
        addons.sort_by_key(|addon| (place(addon).unwrap_or(ENABLED_FIRST.len()), *addon));
        addons
    }
}

/// Says what is lost with addons that are disabled, be it only to be enabled again: what others put into what goes with them.
fn data_lost(before: Option<&State>, moves: &AddonChanges<'_>) -> Option<String> {
    let is_holder = |object: &&ObjectIdentity| {
        matches!(
            &*object.kind,
            "Namespace" | "CustomResourceDefinition" | "PersistentVolumeClaim"
        )
    };
    let texts = moves.disabled.iter().filter_map(|addon| {
        let objects = before.and_then(|before| before.objects.as_ref()?.get(*addon));
        let holders = objects.into_iter().flatten().filter(is_holder);
        let holders: Vec<_> = holders.cloned().collect();
        let names = switch::join_identities(&holders);
        (!holders.is_empty()).then(|| format!("the data in {names} is deleted with {addon}"))
    });
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Finds the full names of what a user wrote.
fn resolve_names(
    catalogue: &Catalog,
    written: BTreeMap<String, Option<Vec<String>>>,
) -> Result<BTreeMap<String, Option<Vec<String>>>, Vec<Problem>> {
    let mut addons = BTreeMap::new();
    let mut problems = vec![];
    let has_community = written
        .keys()
        .any(|name| name == COMMUNITY || *name == format!("core/{COMMUNITY}"));
    for (name, wish) in written {
        let full = match catalogue.resolve(&name) {
            Ok(full) => full,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let addon = &catalogue.addons[&full];
        if addon.needs_community && wish.is_some() && !has_community {
            let message = format!("the repository of `{full}` does not exist");
            let help = format!("add `{COMMUNITY}`: that addon provides it");
            problems.push(Problem::new(message).at(&name).help(help));
        }
        if wish.is_none() && addon.check == StatusCheck::BuiltIn {
            let message = format!("`{full}` is part of the snap and cannot be disabled");
            problems.push(Problem::new(message).at(&name).help("remove it"));
        }
        if addons.insert(full.clone(), wish).is_some() {
            let message = format!("`{full}` is written twice");
            problems.push(Problem::new(message).at(&name).help("keep one of them"));
        }
    }
    if problems.is_empty() {
        Ok(addons)
    } else {
        Err(problems)
    }
}

/// Adds what `exclusive` asks for, and leaves arguments alone that are not written.
fn complete(cluster: &Cluster, prepared: &mut State, is_exclusive: bool) {
    let wanted = prepared.addons.get_or_insert_default();
    for (addon, wish) in wanted.iter_mut() {
        let (AddonStatus::Enabled(_), Some(wish)) = (cluster.status(addon), wish) else {
            continue;
        };
        let there = cluster.arguments(addon);
        if wish.is_empty() {
            *wish = there.unwrap_or_default();
        } else if there.as_ref() != Some(wish) {
            let why = match there {
                Some(_) => "to change its arguments",
                None => "because its arguments cannot be read",
            };
            prepared.remarks.push(format!(
                "{addon} is disabled and enabled again {why}, with an outage"
            ));
        }
    }
    if !is_exclusive {
        return;
    }
    for addon in cluster.catalog.addons.keys() {
        let is_wanted = wanted.contains_key(addon);
        match cluster.status(addon) {
            AddonStatus::Enabled(EnabledBy::Stead) | AddonStatus::Broken(_) if !is_wanted => {
                wanted.insert(addon.clone(), None);
            }
            AddonStatus::Enabled(EnabledBy::Other) if !is_wanted => prepared.remarks.push(format!(
                "{addon} was not enabled by stead and stays enabled"
            )),
            _ => {}
        }
    }
}

/// Returns what is enabled, and where MicroK8s thinks otherwise.
fn observed(cluster: &Cluster) -> State {
    let (addons, mut remarks) = cluster.enabled();
    let records = cluster.records.0.iter();
    let begun = records
        .clone()
        .filter(|(_, record)| record.partial.is_some());
    remarks.extend(
        begun.map(|(name, _)| format!("{name} is half enabled: enabling it was not completed")),
    );
    let objects = records.map(|(name, record)| (name.clone(), record.objects.clone()));
    State {
        addons: Some(addons),
        objects: Some(objects.collect()),
        remarks,
        ..State::default()
    }
}

async fn apply_all(
    host: &Writer,
    change: &Change<State>,
    leftovers: Leftovers,
) -> Result<(), ProviderError> {
    let moves = AddonChanges::of(change);
    for addon in moves.disabled.iter().rev() {
        switch::disable(host, addon, leftovers)
            .await
            .map_err(|error| failed(SNAP, format!("disable {addon}"), error))?;
    }
    for addon in moves.enable_order() {
        switch::enable(host, addon, moves.enabled[addon])
            .await
            .map_err(|error| failed(SNAP, format!("enable {addon}"), error))?;
    }
    Ok(())
}

fn failed(name: &str, attempted: String, error: AddonError) -> ProviderError {
    ProviderError::new(Address::new(Addons::KIND, name), attempted, error)
}
