//! systemd over D-Bus. A reader asks for properties; only a writer asks for jobs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use stead_engine::model::error_chain::error_chain;
use tokio::time::timeout;
use zbus::{
    Connection, OwnedObjectPath, OwnedVariant, Variant, connection::Builder, fdo::PropertiesProxy,
    names::InterfaceName,
};

use super::{HostError, Reader, Writer};

/// The name of systemd on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";
/// Its manager: its only object, and the interface of that.
const MANAGER: (&str, &str) = (
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
);
/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// A job takes the place of one that is queued for the unit: `mode` of org.freedesktop.systemd1(5).
const REPLACE: &str = "replace";
/// The directory that exists while systemd is the init: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";

/// What systemd says of a unit: org.freedesktop.systemd1(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitStatus {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load_state: String,
    /// Why it could not be loaded; empty if it could.
    pub load_error: String,
    /// Whether its files have changed since systemd read them.
    pub is_outdated: bool,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active_state: String,
    /// `running`, `exited`, `auto-restart`, `mounted`, …
    pub sub_state: String,
    /// `enabled`, `disabled`, `static`, …; empty for a unit without a file.
    pub file_state: String,
    /// The number of this start, in hexadecimal; empty if it never ran.
    pub invocation_id: String,
    /// When its main process was started, or when it became active if it has none, in microseconds since 1970; 0 if it never did.
    pub started_at: u64,
    /// How often it has been started again by itself.
    pub restarts: u32,
    /// The number of the job that is under way; 0 if none is.
    pub job: u32,
    /// Whether the conditions of its last start held.
    pub conditions_met: bool,
    /// `simple`, `notify`, `oneshot`, … for a service, else empty.
    pub service_type: String,
    /// Whether a service counts as active when its process has ended.
    pub remains_after_exit: bool,
    /// `success`, `exit-code`, `start-limit-hit`, … for what has results.
    pub result: String,
    /// What the main process of a service ended with: an exit code or the number of a signal.
    pub exit_status: i32,
}

/// Changes of the links by which units are enabled and masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitFileChange {
    /// Makes what `[Install]` says.
    Enable,
    /// Removes every link to the unit.
    Disable,
    /// Puts a link to /dev/null in its place.
    Mask,
    /// Removes that link.
    Unmask,
}

/// What a unit is made to do: the jobs of org.freedesktop.systemd1(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitJob {
    /// Becomes active.
    Start,
    /// Becomes inactive.
    Stop,
    /// Is stopped and started.
    Restart,
}

/// The methods of systemd that are called: org.freedesktop.systemd1(5).
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait SystemdManager {
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<ListedUnit>>;
    fn reload(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &TransientUnit<'_>,
        others: &[(&str, TransientUnit<'_>)],
    ) -> zbus::Result<OwnedObjectPath>;
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    fn cancel_job(&self, id: u32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn enable_unit_files(
        &self,
        names: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<LinkChange>)>;
    fn disable_unit_files(&self, names: &[&str], runtime: bool) -> zbus::Result<Vec<LinkChange>>;
    fn mask_unit_files(
        &self,
        names: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<Vec<LinkChange>>;
    fn unmask_unit_files(&self, names: &[&str], runtime: bool) -> zbus::Result<Vec<LinkChange>>;
}

/// What systemd says of itself and its host.
#[derive(Clone, Debug)]
pub struct Manager {
    /// Its version.
    pub version: String,
    /// What runs this host, as systemd-detect-virt(1) names it; empty if nothing does.
    pub virtualisation: String,
}

/// Keeps what systemd knows of a unit for as long as this lives; it forgets one that nobody needs when that has ended.
#[derive(Debug)]
pub struct UnitRef {
    _connection: Connection,
}

impl Reader {
    /// Whether systemd runs this host.
    pub fn has_systemd(&self) -> Result<bool, HostError> {
        // Whoever answers on the bus runs this machine, and not a directory of it.
        Ok(self.root() == Path::new("/") && self.stat(Path::new(BOOTED))?.is_some())
    }

    /// Asks systemd about itself; `None` where it does not run this host or does not answer.
    pub async fn manager(&self) -> Option<Manager> {
        if !self.has_systemd().ok()? {
            return None;
        }
        let connection = self.bus.get_or_try_init(connect).await.ok()?;
        let (path, interface) = MANAGER;
        let found = properties(connection, (SYSTEMD, path), interface)
            .await
            .ok()?;
        Some(Manager {
            version: found.get("Version")?,
            virtualisation: found.get("Virtualization")?,
        })
    }

    /// Asks systemd about a unit.
    pub async fn unit(&self, name: &str) -> Result<UnitStatus, HostError> {
        let connection = self.bus.get_or_try_init(connect).await?;
        self.trace
            .record(|| format!("systemd on D-Bus, the unit {name}"), None);
        unit_status(connection, name).await
    }

    /// Names the units that systemd knows whose names match a pattern with `*`.
    pub async fn list_units(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        self.list_units_in(&[], pattern).await
    }

    /// As [`Self::list_units`], of those in one of these states; in any if none is named.
    pub async fn list_units_in(
        &self,
        states: &[&str],
        pattern: &str,
    ) -> Result<Vec<String>, HostError> {
        let connection = self.bus.get_or_try_init(connect).await?;
        let manager = systemd_manager(connection).await?;
        let found = manager.list_units_by_patterns(states, &[pattern]).await;
        let found = found.map_err(|error| systemd_error(&error))?;
        Ok(found.into_iter().map(|listed| listed.0).collect())
    }
}

impl Writer {
    /// Makes systemd read its unit files again, where it runs.
    pub async fn reload_units(&self) -> Result<(), HostError> {
        if !Reader::new(self.root()).has_systemd()? {
            return Ok(());
        }
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        manager
            .reload()
            .await
            .map_err(|error| systemd_error(&error))
    }

    /// Starts, stops or restarts a unit. Does not wait for its end.
    pub async fn unit_job(&self, job: UnitJob, name: &str) -> Result<(), HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let begun = match job {
            UnitJob::Start => manager.start_unit(name, REPLACE).await,
            UnitJob::Stop => manager.stop_unit(name, REPLACE).await,
            UnitJob::Restart => manager.restart_unit(name, REPLACE).await,
        };
        begun.map(drop).map_err(|error| systemd_error(&error))
    }

    /// Keeps what systemd knows of a unit, so that it can be asked how that ended.
    pub async fn ref_unit(&self, name: &str) -> Result<UnitRef, HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let kept = manager.ref_unit(name).await;
        kept.map_err(|error| systemd_error(&error))?;
        Ok(UnitRef {
            _connection: connection,
        })
    }

    /// Ends a job that is under way, such as that of a killed run. What it has begun stays as it is.
    pub async fn cancel_job(&self, job: u32) -> Result<(), HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let cancelled = manager.cancel_job(job).await;
        cancelled.map_err(|error| systemd_error(&error))
    }

    /// Makes systemd forget that a unit failed, and how often.
    pub async fn reset_failed(&self, name: &str) -> Result<(), HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let reset = manager.reset_failed_unit(name).await;
        reset.map_err(|error| systemd_error(&error))
    }

    /// Changes the links by which a unit is enabled or masked, on the disk before it is said to be done.
    pub async fn change_unit_files(
        &self,
        links: UnitFileChange,
        name: &str,
    ) -> Result<(), HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let (names, runtime, force) = ([name], false, false);
        let changes = match links {
            UnitFileChange::Enable => {
                let reply = manager.enable_unit_files(&names, runtime, force).await;
                reply.map(|(_, changes)| changes)
            }
            UnitFileChange::Disable => manager.disable_unit_files(&names, runtime).await,
            UnitFileChange::Mask => manager.mask_unit_files(&names, runtime, force).await,
            UnitFileChange::Unmask => manager.unmask_unit_files(&names, runtime).await,
        };
        let changes = changes.map_err(|error| systemd_error(&error))?;
        for (_, link, _) in changes {
            let dir = PathBuf::from(link).parent().map(Path::to_owned);
            // A directory that was made or removed for the link is an entry of the directory above.
            for dir in dir.iter().flat_map(|dir| dir.ancestors().take(2)) {
                self.sync_dir(dir)?;
            }
        }
        Ok(())
    }
}

/// Properties of a unit that has no file.
pub(crate) type TransientUnit<'a> = Vec<(&'a str, Variant<'a>)>;

impl Writer {
    /// Starts a unit that has no file and goes when it has ended, beside another one that it starts.
    pub(crate) async fn start_transient(
        &self,
        unit: (&str, TransientUnit<'_>),
        other: (&str, TransientUnit<'_>),
    ) -> Result<(), HostError> {
        let connection = connect().await?;
        let manager = systemd_manager(&connection).await?;
        let (name, properties) = unit;
        let begun = manager
            .start_transient_unit(name, REPLACE, &properties, &[other])
            .await;
        begun.map(drop).map_err(|error| systemd_error(&error))
    }
}

/// A unit in a list: its name, and much that is asked for elsewhere.
type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// What was done (`symlink`, `unlink`), to which link, and where that leads.
type LinkChange = (String, String, String);

pub(super) async fn connect() -> Result<Connection, HostError> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| HostError::Service {
        service: "the system bus, which the package `dbus` provides".to_owned(),
        fault: error_chain(error).join(": "),
    };
    let connecting = Builder::system().method_timeout(DEADLINE).build();
    timeout(DEADLINE, connecting)
        .await
        .map_err(|error| unreachable(&error))?
        .map_err(|error| unreachable(&error))
}

async fn unit_status(connection: &Connection, name: &str) -> Result<UnitStatus, HostError> {
    let manager = systemd_manager(connection).await?;
    let loaded = manager.load_unit(name).await;
    let path = loaded.map_err(|error| systemd_error(&error))?;
    let unit = unit_properties(connection, &path, "Unit").await?;
    // Each type of unit has an interface of its own, with its result; that of a template or a target has nothing of interest.
    let interface = match name.rsplit_once('.') {
        Some((_, "service")) => "Service",
        Some((_, "socket")) => "Socket",
        Some((_, "mount")) => "Mount",
        Some((_, "swap")) => "Swap",
        Some((_, "automount")) => "Automount",
        Some((_, "timer")) => "Timer",
        Some((_, "path")) => "Path",
        _ => "",
    };
    let own = match interface {
        "" => Properties(HashMap::new()),
        interface => unit_properties(connection, &path, interface).await?,
    };
    let (job, _) = unit
        .get::<(u32, OwnedObjectPath)>("Job")
        .unwrap_or_default();
    let (_, load_error) = unit
        .get::<(String, String)>("LoadError")
        .unwrap_or_default();
    let was_tried = unit
        .get::<u64>("ConditionTimestamp")
        .is_some_and(|at| at > 0);
    let of_process = own
        .get::<u64>("ExecMainStartTimestamp")
        .filter(|at| *at > 0);
    let invocation: Vec<u8> = unit.get("InvocationID").unwrap_or_default();
    Ok(UnitStatus {
        load_state: unit.text("LoadState"),
        load_error,
        is_outdated: unit.get("NeedDaemonReload").unwrap_or(false),
        active_state: unit.text("ActiveState"),
        sub_state: unit.text("SubState"),
        file_state: unit.text("UnitFileState"),
        invocation_id: hex::encode(invocation),
        started_at: of_process
            .or_else(|| unit.get("ActiveEnterTimestamp"))
            .unwrap_or(0),
        restarts: own.get("NRestarts").unwrap_or(0),
        job,
        conditions_met: !was_tried || unit.get("ConditionResult").unwrap_or(true),
        service_type: if interface == "Service" {
            own.text("Type")
        } else {
            String::new()
        },
        remains_after_exit: own.get("RemainAfterExit").unwrap_or(false),
        result: own.text("Result"),
        exit_status: own.get("ExecMainStatus").unwrap_or(0),
    })
}

async fn systemd_manager(connection: &Connection) -> Result<SystemdManagerProxy<'_>, HostError> {
    let manager = SystemdManagerProxy::new(connection).await;
    manager.map_err(|error| systemd_error(&error))
}

/// Properties of an object by name.
pub(super) struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    /// Returns a property; `None` where this systemd does not have it.
    pub(super) fn get<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }
}

async fn unit_properties(
    connection: &Connection,
    path: &OwnedObjectPath,
    of: &str,
) -> Result<Properties, HostError> {
    let of = format!("{SYSTEMD}.{of}");
    properties(connection, (SYSTEMD, path.as_str()), &of).await
}

/// Returns the properties that an object of a service has in an interface.
pub(super) async fn properties(
    connection: &Connection,
    (service, path): (&str, &str),
    of: &str,
) -> Result<Properties, HostError> {
    let found = async {
        let object = PropertiesProxy::builder(connection)
            .destination(service)
            .path(path)
            .build()
            .await?;
        zbus::Result::Ok(object.get_all(InterfaceName::try_from(of)?).await?)
    };
    let found = found.await.map_err(|error| systemd_error(&error))?;
    Ok(Properties(found))
}

fn systemd_error(error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Service {
        service: "systemd".to_owned(),
        fault: error_chain(error).join(": "),
    }
}
