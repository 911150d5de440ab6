//! Starts of units as evidence.

use jiff::Timestamp;

use crate::{
    evidence::times::{format_time, from_microseconds},
    host::Reader,
};

/// Returns when a unit was started, if it is active and was started after `since`.
pub(crate) async fn started_after(
    host: &Reader,
    unit: &str,
    since: Timestamp,
) -> Option<Timestamp> {
    if !host.has_systemd().ok()? {
        return None;
    }
    let unit = host.unit(unit).await.ok()?;
    let at = from_microseconds(unit.started_at)?;
    (unit.active_state == "active" && at > since).then_some(at)
}

/// Says that a unit was started.
pub(crate) fn describe_start(unit: &str, at: Timestamp) -> String {
    format!("{unit} started {}", format_time(at))
}

/// Returns the only one that is there: where several could have done it, nobody is known to have.
pub(crate) fn exactly_one<T>(found: impl IntoIterator<Item = Option<T>>) -> Option<T> {
    let mut found = found.into_iter().flatten();
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_rejects_two_candidates() {
        assert_eq!(exactly_one([None, Some(1), None]), Some(1));
        assert_eq!(exactly_one([Some(1), Some(2)]), None);
        assert_eq!(exactly_one::<u8>([None]), None);
    }
}
