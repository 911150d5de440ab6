//! Until when refreshes of snaps are held.

use jiff::{SignedDuration, Timestamp};

/// What `hold` says of a snap that is not held.
pub(crate) const NOT_HELD: &str = "none";

/// Whether all snaps are held until a time because somebody wanted that.
pub(crate) fn is_held(until: &str) -> bool {
    until
        .parse::<Timestamp>()
        .is_ok_and(|until| until.duration_since(Timestamp::now()) > MIN_HOLD)
}

/// Gives the end of a hold its one spelling.
pub(crate) fn canonical_hold(hold: Option<&str>) -> String {
    let Some(until) = hold.and_then(|hold| hold.parse::<Timestamp>().ok()) else {
        return NOT_HELD.to_owned();
    };
    let left = until.duration_since(Timestamp::now());
    if left > SignedDuration::from_hours(FOREVER_YEARS * 365 * 24) {
        "forever".to_owned()
    } else if left.is_positive() {
        until.to_string()
    } else {
        NOT_HELD.to_owned()
    }
}

/// A hold that ends after more years than this is one for ever: snapd then counts as far as its clock goes.
pub(crate) const FOREVER_YEARS: i64 = 50;
/// What ends sooner is no decision of anybody: snapd holds all snaps of a new device for two hours.
pub(crate) const MIN_HOLD: SignedDuration = SignedDuration::from_hours(24);
