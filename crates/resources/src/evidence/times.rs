//! Times of the host, and how evidence shows them.

use jiff::Timestamp;

/// Says when that was, for people, to the second.
pub(crate) fn format_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Returns the time that is so many microseconds after 1970.
pub(crate) fn from_microseconds(microseconds: u64) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(microseconds).ok()?).ok()
}
