//! systemd over D-Bus. A reader asks for properties; only a writer asks for jobs.

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use super::{HostError, Reader, Writer};

/// The name of systemd on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its manager object.
const MANAGER: &str = "/org/freedesktop/systemd1";
/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// The folder that exists while systemd is the init: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitStatus {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `enabled`, `disabled`, `static`, …; empty for a unit without a file.
    pub file: String,
    /// The number of this start, in hexadecimal; empty if it never ran.
    pub invocation: String,
    /// When its main process was started, microseconds since 1970; 0 if it has none.
    pub started: u64,
    /// How often it has been started again by itself.
    pub restarts: u32,
}

impl Reader {
    /// Whether systemd runs this host.
    pub fn has_systemd(&self) -> Result<bool, HostError> {
        Ok(self.stat(std::path::Path::new(BOOTED))?.is_some())
    }

    /// Asks systemd about a unit.
    pub async fn unit(&self, name: &str) -> Result<UnitStatus, HostError> {
        let connection = connect().await?;
        let path: OwnedObjectPath = call(&connection, "LoadUnit", &name).await?;
        let unit = properties(&connection, &path, "org.freedesktop.systemd1.Unit").await?;
        let service = if name.ends_with(".service") {
            properties(&connection, &path, "org.freedesktop.systemd1.Service").await?
        } else {
            HashMap::new()
        };
        let text = |name: &str| {
            let value = unit
                .get(name)
                .and_then(|value| value.downcast_ref::<&str>().ok());
            value.unwrap_or_default().to_owned()
        };
        let invocation = unit
            .get("InvocationID")
            .and_then(|value| Vec::<u8>::try_from(value.try_clone().ok()?).ok())
            .unwrap_or_default();
        let number = |name: &str| {
            let value = service.get(name)?;
            value.downcast_ref::<u64>().ok()
        };
        let restarts = service
            .get("NRestarts")
            .and_then(|value| value.downcast_ref::<u32>().ok());
        Ok(UnitStatus {
            load: text("LoadState"),
            active: text("ActiveState"),
            file: text("UnitFileState"),
            invocation: hex::encode(invocation),
            started: number("ExecMainStartTimestamp").unwrap_or(0),
            restarts: restarts.unwrap_or(0),
        })
    }
}

impl Writer {
    /// Makes systemd read its unit files again, where it runs.
    pub async fn reload_units(&self) -> Result<(), HostError> {
        if !Reader::new(self.root()).has_systemd()? {
            return Ok(());
        }
        let connection = connect().await?;
        call_nothing(&connection, "Reload", &()).await
    }

    /// Starts, stops or restarts a unit: `verb` is `StartUnit`, `StopUnit`, `RestartUnit`. Does not wait for its end.
    pub async fn unit_job(&self, verb: &str, name: &str) -> Result<(), HostError> {
        let connection = connect().await?;
        let _job: OwnedObjectPath = call(&connection, verb, &(name, "replace")).await?;
        Ok(())
    }
}

/// Properties of a unit that has no file.
pub(crate) type Properties<'a> = Vec<(&'a str, Variant<'a>)>;

impl Writer {
    /// Starts a unit that has no file and goes when it has ended, beside another one that it starts.
    pub(crate) async fn start_transient(
        &self,
        unit: (&str, Properties<'_>),
        other: (&str, Properties<'_>),
    ) -> Result<(), HostError> {
        let connection = connect().await?;
        let (name, properties) = unit;
        let body = (name, "replace", properties, vec![other]);
        let _job: OwnedObjectPath = call(&connection, "StartTransientUnit", &body).await?;
        Ok(())
    }
}

async fn connect() -> Result<Connection, HostError> {
    timeout(DEADLINE, Connection::system())
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

async fn call<B, T>(connection: &Connection, method: &str, body: &B) -> Result<T, HostError>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
    T: serde::de::DeserializeOwned + zbus::zvariant::Type,
{
    let interface = Some("org.freedesktop.systemd1.Manager");
    let asked = connection.call_method(Some(SYSTEMD), MANAGER, interface, method, body);
    let reply = timeout(DEADLINE, asked)
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    reply.body().deserialize().map_err(|error| failed(&error))
}

async fn call_nothing<B>(connection: &Connection, method: &str, body: &B) -> Result<(), HostError>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    call::<B, ()>(connection, method, body).await
}

async fn properties(
    connection: &Connection,
    path: &OwnedObjectPath,
    of: &str,
) -> Result<HashMap<String, OwnedVariant>, HostError> {
    let interface = Some("org.freedesktop.DBus.Properties");
    let asked = connection.call_method(Some(SYSTEMD), path.as_ref(), interface, "GetAll", &of);
    let reply = timeout(DEADLINE, asked)
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    reply.body().deserialize().map_err(|error| failed(&error))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Service {
        service: "systemd".to_owned(),
        fault: stead_engine::report::chain(error).join(": "),
    }
}
