//! The kind `snap-config`: one setting of a snap, as by `snap set`. A `snap` with `config` adds these.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;
use stead_engine::{
    model::{
        address::Address,
        change::Change,
        listing::{Export, Listing},
        schema::{Absence, Attribute, Lifecycle, Problem, Role, Schema, Shape},
    },
    provider::{
        capabilities::{Footprint, Importable},
        erased::Capabilities,
        error::ProviderError,
        traits::Provider,
    },
};

use crate::{
    host::{LinuxHost, Reader, Writer},
    snapd::client::{self, SnapdError},
    values::secret_patterns,
};

/// The name of snapd itself among snaps.
const SYSTEM: &str = "system";
/// Its groups of settings: overlord/configstate/configcore of snapd. Not `system`, which is the name and the clock of the host.
const SYSTEM_GROUPS: [&str; 13] = [
    "cloud",
    "experimental",
    "homedirs",
    "journal",
    "proxy",
    "refresh",
    "resilience",
    "service",
    "snapshots",
    "store",
    "swap",
    "tmp",
    "users",
];
/// Settings that nobody chose, by snap: how their names begin. What old releases of snapd hold is said by `hold` of each snap.
const SNAPD_SETTINGS: [(&str, &str); 2] = [(SYSTEM, "refresh.hold"), (SYSTEM, "refresh.last")];

/// The kind `snap-config`.
pub(crate) struct SnapConfig;

/// State of a setting.
///
/// ```kdl
/// snap-config "system/refresh.timer" "fri,23:00-01:00"
/// ```
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    value: Option<String>,
    setting: Option<Value>,
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute::new(
        "value",
        Shape::Text,
        Role::Input,
        "The value, as `snap set` takes it: JSON, or a text.",
    ),
    Attribute::new("setting", Shape::Text, Role::Derived, "The value as JSON."),
];

impl Provider<LinuxHost> for SnapConfig {
    const KIND: &'static str = "snap-config";
    const CAPABILITIES: Capabilities<LinuxHost, Self> =
        Capabilities::new().importable().footprint();
    type State = State;

    fn schema(&self) -> Schema {
        Schema {
            summary: "One setting of a snap, or of snapd itself as `system`.",
            name: "snap/key",
            main: Some("value"),
            attributes: ATTRIBUTES,
            lifecycle: Lifecycle {
                needs_init: true,
                ..Lifecycle::DEFAULT
            },
            absence: Absence::Allowed,
            example: "snap-config \"system/refresh.timer\" \"fri,23:00-01:00\"\n",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Problem> {
        match name.split_once('/') {
            Some((snap, key))
                if !snap.is_empty() && !key.is_empty() && is_plain(snap) && is_plain(key) =>
            {
                Ok(())
            }
            _ => Err(Problem::new(format!("`{name}` is not a setting"))
                .help("write `SNAP/KEY`, for instance `system/refresh.timer`")),
        }
    }

    async fn prepare(
        &self,
        _host: &Reader,
        _name: &str,
        mut desired: State,
    ) -> Result<State, Vec<Problem>> {
        if let Some(text) = &desired.value {
            let value = serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
            desired.setting = Some(value);
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
            let (snap, key) = split(name);
            let setting = match client::setting(host, snap, key).await {
                Err(SnapdError::Missing) => None,
                Err(error) if error.kind() == "snap-not-found" => None,
                setting => setting.map_err(refused(name, "read it"))?,
            };
            states.push(setting.map(|value| State {
                value: None,
                setting: Some(value),
            }));
        }
        Ok(states)
    }

    async fn apply(
        &self,
        host: &Writer,
        changes: Vec<(&str, Change<State>)>,
    ) -> Result<(), ProviderError> {
        for (name, change) in changes {
            let (snap, key) = split(name);
            let setting = change.after().and_then(|after| after.setting.clone());
            let value = setting.unwrap_or_default();
            client::set_settings(host, snap, &json!({key: value}))
                .await
                .map_err(refused(name, "set it"))?;
        }
        Ok(())
    }

    fn requires(&self, name: &str, _desired: &State) -> Vec<Address> {
        vec![Address::new("snap", split(name).0)]
    }
}

impl Importable<LinuxHost> for SnapConfig {
    async fn list(&self, host: &Reader) -> Result<Listing, ProviderError> {
        if !client::is_present(host).map_err(|error| refused("", "find snapd")(error.into()))? {
            return Ok(Listing::not_importable(crate::snapd::list::NO_SNAPD));
        }
        list(host)
            .await
            .map_err(refused("", "ask snapd for its settings"))
    }

    async fn export(
        &self,
        _host: &Reader,
        _name: &str,
        state: State,
    ) -> Result<Export<State>, ProviderError> {
        Ok(match state.setting {
            None => Export::Default,
            Some(setting) => Export::as_is(State {
                value: Some(to_snap_set(&setting)),
                setting: None,
            }),
        })
    }
}

impl Footprint<LinuxHost> for SnapConfig {
    fn managed_paths(&self, _name: &str) -> Vec<String> {
        vec!["/var/lib/snapd/*".to_owned(), "/var/snap/*".to_owned()]
    }
}

async fn list(host: &Reader) -> Result<Listing, SnapdError> {
    let mut listing = Listing::new("Settings of snaps, and of snapd itself.", []);
    let snaps = crate::snapd::list::all_snaps(host).await?;
    let apps = snaps
        .into_iter()
        .filter(|snap| snap.is_app && snap.has_programs);
    for snap in [SYSTEM.to_owned()]
        .into_iter()
        .chain(apps.map(|snap| snap.name))
    {
        for (key, value) in settings(host, &snap).await? {
            let name = format!("{snap}/{key}");
            let is_own = |(known, begin): &(&str, &str)| *known == snap && key.starts_with(begin);
            if SNAPD_SETTINGS.iter().any(is_own) {
                listing.ignore("snapd sets it itself", name);
            } else if secret_patterns::is_name_secret(&key)
                || value.as_str().is_some_and(secret_patterns::contains_secret)
            {
                listing.secrets.insert(name);
            } else {
                listing.managed.insert(name);
            }
        }
    }
    Ok(listing)
}

/// Returns all settings of a snap. Those of snapd itself are asked for one by one: for all of them it would start other programs.
async fn settings(host: &Reader, snap: &str) -> Result<Vec<(String, Value)>, SnapdError> {
    if snap != SYSTEM {
        return crate::snapd::list::settings(host, snap).await;
    }
    let mut settings = vec![];
    for key in SYSTEM_GROUPS {
        if let Some(value) = client::setting(host, snap, key).await? {
            crate::snapd::list::flatten(key, &value, &mut settings);
        }
    }
    Ok(settings)
}

/// Returns a value as `snap set` takes it: a text that would be taken for JSON is written as JSON.
fn to_snap_set(setting: &Value) -> String {
    match setting {
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => text.clone(),
        other => other.to_string(),
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

/// Whether a part of a name can stand in a URL as it is.
fn is_plain(part: &str) -> bool {
    part.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn refused<'a>(
    name: &'a str,
    attempted: &'a str,
) -> impl Fn(SnapdError) -> ProviderError + use<'a> {
    client::provider_error(SnapConfig::KIND, name, attempted)
}
