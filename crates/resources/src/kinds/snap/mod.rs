//! The kind `snap`: a snap of this host, from the store or from a file.

pub(crate) mod change;
pub(crate) mod drift;
pub(crate) mod file;
pub(crate) mod read;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod suggest;

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use serde_json::{Value, json};
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        completion::CompletionTarget,
        drift::{Drift, Evidence},
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
        state::Desired,
    },
    provider::{
        capabilities::{Completable, Composite, Footprint, Importable, Reversible, Watchable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    host::{LinuxHost, Reader, Writer},
    kinds::snap::{
        change::{install, is_sideloaded, reconcile, refresh, release_hold, to_spec},
        file::SnapFile,
        state::{MAX_HOLD, State},
        store::{canonical_channel, check_confinement, check_store},
    },
    microk8s::leftovers,
    snapd::{
        client::{self, SnapdError},
        hold::NOT_HELD,
    },
};

/// How long the services of a snap are away while it is refreshed, in milliseconds: an estimate for the plan.
const REFRESH_OUTAGE: u64 = 30_000;

/// The kind `snap`.
pub(crate) struct Snap;

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "channel",
        Shape::Text,
        Role::Managed,
        "The channel that it follows: `TRACK/RISK`, `TRACK` or `RISK`. Changing it refreshes the snap.",
    ),
    Attribute::new(
        "revision",
        Shape::Text,
        Role::Managed,
        "The installed revision. It stays only if refreshes are held, too.",
    ),
    Attribute::new(
        "classic",
        Shape::Flag,
        Role::Managed,
        "Whether it may be installed with classic confinement, as some snaps need.",
    ),
    Attribute::new(
        "devmode",
        Shape::Flag,
        Role::Managed,
        "Whether it is installed in devmode.",
    ),
    Attribute::new(
        "hold",
        Shape::Text,
        Role::Managed,
        "Until when snapd must not refresh it automatically: `forever`, a time such as `2027-01-31T00:00:00Z`, or `none`.",
    ),
    Attribute::new(
        "enabled",
        Shape::Flag,
        Role::Managed,
        "Whether it is enabled, with its services.",
    ),
    Attribute::new(
        "config",
        Shape::Map,
        Role::Input,
        "Settings, as by `snap set`; `#null` to unset one.",
    ),
    Attribute::new(
        "file",
        Shape::Path,
        Role::Input,
        "A local file to install it from; the assertions beside it (`.assert`) are acknowledged first.",
    ),
    Attribute::new(
        "dangerous",
        Shape::Flag,
        Role::Input,
        "Whether the file may be installed without assertions.",
    ),
    Attribute::new(
        "contents",
        Shape::Text,
        Role::Derived,
        "SHA-256 of a file that was installed without assertions.",
    ),
    Attribute::new("version", Shape::Text, Role::Context, "Its version."),
    Attribute::new(
        "kept",
        Shape::List,
        Role::Context,
        "The revisions that snapd keeps.",
    ),
    Attribute::new(
        "held_until",
        Shape::Text,
        Role::Context,
        "Until when all snaps are held, where snapd cannot hold one.",
    ),
    Attribute::new(
        "download",
        Shape::Integer,
        Role::Context,
        "Bytes to download from the store.",
    ),
];

impl Provider<LinuxHost> for Snap {
    const KIND: &'static str = "snap";
    const CAPABILITIES: Capabilities<LinuxHost, Self> = Capabilities::new()
        .reversible()
        .importable()
        .completable()
        .composite()
        .watchable()
        .footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "A snap, from the store or from a file.",
            name: "snap name",
            main: None,
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "snap \"microk8s\" channel=\"1.32/stable\" classic=#true hold=\"forever\" {\n    config {\n        dns \"1.1.1.1\"\n    }\n}\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        // snap/naming/validate.go of snapd.
        let is_fine = name.len() <= 40
            && name.chars().any(|c| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-')
            && !name.contains("--");
        if is_fine {
            return Ok(());
        }
        Err(
            Problem::new(format!("`{name}` cannot be the name of a snap"))
                .help("it has lower case letters, digits and single hyphens"),
        )
    }

    fn check(&self, _name: &str, desired: &State) -> Vec<Problem> {
        let mut problems = vec![];
        if let Some(hold) = desired.hold.as_deref()
            && hold != "forever"
            && hold != NOT_HELD
            && hold.parse::<Timestamp>().is_err()
        {
            problems.push(
                Problem::new(format!("`{hold}` is not a time"))
                    .at("hold")
                    .help("write `forever`, `none`, or a time such as `2027-01-31T00:00:00Z`"),
            );
        }
        if desired.file.is_some() {
            for (is_there, name) in [
                (desired.channel.is_some(), "channel"),
                (desired.revision.is_some(), "revision"),
            ] {
                if is_there {
                    let message = format!("a file has its own revision, so `{name}` has no effect");
                    problems.push(
                        Problem::new(message)
                            .at(name)
                            .help(format!("remove `{name}`")),
                    );
                }
            }
        } else if desired.dangerous.is_some() {
            problems.push(
                Problem::new("`dangerous` needs a `file`")
                    .at("dangerous")
                    .help("write `file=\"PATH\"`, or remove it"),
            );
        }
        if let Some(revision) = &desired.revision
            && revision.parse::<u32>().is_err()
        {
            problems.push(
                Problem::new(format!("`{revision}` is not a revision of the store"))
                    .at("revision")
                    .help("write a number in quotes, for instance `revision=\"7394\"`"),
            );
        }
        problems
    }

    async fn prepare(
        &self,
        host: &Reader,
        name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        // A recorded state to roll back to.
        if desired.version.is_some() {
            return Ok(desired);
        }
        if !client::is_present(host).map_err(|error| vec![Problem::new(error.to_string())])? {
            return Err(vec![SnapdError::Missing.problem()]);
        }
        desired.channel = desired.channel.as_deref().map(canonical_channel);
        let failed = |error: SnapdError| vec![error.problem()];
        let there = client::installed_snaps(host, &[name])
            .await
            .map_err(failed)?
            .remove(name);
        if let Some(hold) = &desired.hold
            && hold != NOT_HELD
            && !client::supports_hold(host).await.map_err(failed)?
        {
            if hold != "forever" {
                return Err(vec![
                    Problem::new(
                        "this snapd is older than 2.58 and cannot hold one snap until a given time",
                    )
                    .at("hold")
                    .help("write `hold=\"forever\"`: it then holds all snaps as long as it can"),
                ]);
            }
            desired.hold = Some(MAX_HOLD.to_owned());
        }
        if let Some(there) = &there {
            check_confinement(name, there, &desired)?;
        }
        if let Some(file) = desired.file.clone() {
            let is_dangerous = desired.dangerous == Some(true);
            match file::inspect(host, Path::new(&file), is_dangerous)? {
                SnapFile::Asserted { revision } => desired.revision = Some(revision),
                SnapFile::Sideloaded { sha256 } => desired.contents = Some(sha256),
            }
            return Ok(desired);
        }
        check_store(host, name, there.as_ref(), &mut desired).await?;
        Ok(desired)
    }

    async fn read(
        &self,
        host: &Reader,
        names: &[&str],
    ) -> Result<Vec<Option<State>>, ProviderError> {
        let refused = refused(names.first().unwrap_or(&""), "ask snapd");
        if !client::is_present(host).map_err(|error| refused(error.into()))? {
            return Ok(vec![None; names.len()]);
        }
        match read::read(host, names).await {
            Err(SnapdError::Missing) => Ok(vec![None; names.len()]),
            states => states.map_err(refused),
        }
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            match change {
                Change::Create { after } => {
                    install(host, name, &after)
                        .await
                        .map_err(refused(name, "install it"))?;
                    let before = State {
                        enabled: Some(true),
                        hold: Some(NOT_HELD.to_owned()),
                        ..State::default()
                    };
                    reconcile(host, name, &before, &after).await
                }
                Change::Update { before, after } => {
                    refresh(host, name, &before, &after)
                        .await
                        .map_err(refused(name, "change its revision or channel"))?;
                    reconcile(host, name, &before, &after).await
                }
                // snapd keeps a snapshot of its data for some weeks.
                Change::Delete { .. } => {
                    let removed = client::snap_action(host, name, "remove", json!({})).await;
                    match removed {
                        Ok(_) => release_hold(host, name).await,
                        Err(error) => Err(error),
                    }
                }
            }
            .map_err(refused(name, "change it"))?;
        }
        Ok(())
    }

    fn requires(&self, _name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("package", "snapd")]
    }

    fn effects(&self, name: &str, change: &Change<State>) -> Effects {
        let (before, after) = (change.before(), change.after());
        let moves = |field: fn(&State) -> &Option<String>| {
            before.is_some() && after.is_some() && before.map(field) != after.map(field)
        };
        let is_refresh = moves(|state| &state.revision)
            || moves(|state| &state.channel)
            || moves(|state| &state.contents);
        Effects {
            download: after.and_then(|after| after.download).unwrap_or(0),
            restarts: if is_refresh {
                vec![format!("the services of {name}")]
            } else {
                vec![]
            },
            outage: if is_refresh { REFRESH_OUTAGE } else { 0 },
            irreversible: match (before, after) {
                (Some(before), None) if is_sideloaded(before) => {
                    Some("the file that it was installed from is not saved".to_owned())
                }
                _ => None,
            },
            ..Effects::default()
        }
    }
}

impl Reversible<LinuxHost> for Snap {
    async fn remove_partial(&self, host: &Writer, name: &str) -> Result<(), ProviderError> {
        client::abort_changes(host, name)
            .await
            .map_err(refused(name, "end the change in progress in snapd"))
    }

    async fn roll_back(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        let (made, others): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|(_, change)| matches!(change, Change::Delete { .. }));
        for (name, _) in made {
            client::snap_action(host, name, "remove", json!({"purge": true}))
                .await
                .map_err(refused(name, "remove it"))?;
            release_hold(host, name)
                .await
                .map_err(refused(name, "remove the hold that was set for it"))?;
        }
        self.apply(host, others).await
    }

    async fn remnants(&self, host: &Reader, name: &str) -> BTreeSet<String> {
        leftovers::of_snap(host, name).await
    }
}

impl Importable<LinuxHost> for Snap {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        let refused = refused("", "ask snapd for its snaps");
        if !client::is_present(host).map_err(|error| refused(error.into()))? {
            return Ok(Listing::not_importable(crate::snapd::list::NO_SNAPD));
        }
        read::listing(host).await.map_err(refused)
    }

    async fn export(
        &self,
        _host: &Reader,
        name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        Ok(Export::as_is(to_spec(name, state)))
    }
}

impl Completable<LinuxHost> for Snap {
    async fn complete(&self, host: &Reader, name: &str, gap: &CompletionTarget) -> Vec<String> {
        match gap {
            CompletionTarget::Name => suggest::snaps(host).await,
            CompletionTarget::Value(attribute) if attribute == "channel" => {
                suggest::channels(host, name).await
            }
            _ => vec![],
        }
    }
}

impl Composite<LinuxHost> for Snap {
    fn implies(&self, name: &str, desired: &State) -> Vec<(Address, Desired)> {
        let settings = desired.config.iter().flatten();
        settings
            .map(|(key, value)| {
                let address = Address::new("snap-config", format!("{name}/{key}"));
                let desired = match value {
                    Value::Null => Desired::Absent,
                    value => Desired::present(json!({"setting": value})),
                };
                (address, desired)
            })
            .collect()
    }
}

impl Watchable<LinuxHost> for Snap {
    async fn attribute_drift(
        &self,
        host: &Reader,
        name: &str,
        drift: &Drift<State>,
    ) -> Option<Evidence> {
        drift::attribute_drift(host, name, drift).await
    }
}

impl Footprint<LinuxHost> for Snap {
    fn managed_paths(&self, name: &str) -> Vec<String> {
        read::managed_paths(name)
    }
}

fn refused<'a>(
    name: &'a str,
    attempted: &'a str,
) -> impl Fn(SnapdError) -> ProviderError + use<'a> {
    client::provider_error(Snap::KIND, name, attempted)
}
