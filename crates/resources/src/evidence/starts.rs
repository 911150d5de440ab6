//! Starts of units as evidence.

use jiff::Timestamp;

use crate::{
    evidence::times::{time, when},
    host::Reader,
};

/// Returns when a unit was started, if it is active and was started after `since`.
pub(crate) async fn started(host: &Reader, unit: &str, since: Timestamp) -> Option<Timestamp> {
    if !host.has_systemd().ok()? {
        return None;
    }
    let unit = host.unit(unit).await.ok()?;
    let at = time(unit.started)?;
    (unit.active == "active" && at > since).then_some(at)
}

/// Says that a unit was started.
pub(crate) fn start(unit: &str, at: Timestamp) -> String {
    format!("{unit} started {}", when(at))
}

/// Returns the only one that is there: where several could have done it, nobody is known to have.
pub(crate) fn only<T>(found: impl IntoIterator<Item = Option<T>>) -> Option<T> {
    let mut found = found.into_iter().flatten();
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_nobody_is_the_one() {
        assert_eq!(only([None, Some(1), None]), Some(1));
        assert_eq!(only([Some(1), Some(2)]), None);
        assert_eq!(only::<u8>([None]), None);
    }
}
