//! The state of the clock by the kernel and systemd-timedated: org.freedesktop.timedate1(5).

use super::{
    HostError, Reader,
    systemd::{connect, properties},
};

/// The name of systemd-timedated on the bus, and of what it tells.
const TIMEDATE: &str = "org.freedesktop.timedate1";
/// Its only object.
const OBJECT: &str = "/org/freedesktop/timedate1";

/// How the clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Whether the kernel knows that it is right: somebody has told it so, and not long ago.
    pub is_synchronised: bool,
    /// Whether a program is installed that could.
    pub can_sync: bool,
    /// Whether such a program is enabled.
    pub is_sync_enabled: bool,
}

impl Reader {
    /// Asks systemd-timedated about the clock.
    pub async fn clock(&self) -> Result<Clock, HostError> {
        let connection = self.bus.get_or_try_init(connect).await?;
        let told = properties(connection, (TIMEDATE, OBJECT), TIMEDATE).await?;
        let is = |name: &'static str| {
            told.get(name).ok_or_else(|| HostError::Service {
                service: "systemd-timedated".to_owned(),
                fault: format!("it does not report {name}"),
            })
        };
        Ok(Clock {
            is_synchronised: is("NTPSynchronized")?,
            can_sync: is("CanNTP")?,
            is_sync_enabled: is("NTP")?,
        })
    }
}
