//! Parsers of single arguments: bytes, times, values of variables.

use jiff::SignedDuration;
use stead_engine::{language::assignment::Assignment, run::confirm::Confirm};

/// The longest time that a run may wait to be confirmed, in seconds.
const LONGEST_WINDOW: u64 = 24 * 60 * 60;

/// Reads a number of bytes with an optional k, M or G, each 1000 times the one before.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        _ => return Err("write a number with k, M or G, for instance `50M`".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number, for instance `50M`".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "the number is too large".to_owned())
}

/// Reads what a variable is given.
pub(crate) fn assignment(text: &str) -> Result<String, String> {
    match Assignment::from_argument(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a name and a value, for instance `--var dns=9.9.9.9`".to_owned()),
    }
}

/// Reads `off`, `auto`, `auto,TIME` or a time.
pub(crate) fn confirm(text: &str) -> Result<Confirm, String> {
    let window = |text: &str| {
        seconds(text)
            .filter(|seconds| (1..=LONGEST_WINDOW).contains(seconds))
            .ok_or("write a time of at most a day, such as `2m`, or `auto`, or `off`".to_owned())
    };
    match text {
        "off" => Ok(Confirm::Off),
        "auto" => Ok(Confirm::Auto(None)),
        _ => match text.strip_prefix("auto,") {
            Some(time) => Ok(Confirm::Auto(Some(window(time)?))),
            None => Ok(Confirm::Within(window(text)?)),
        },
    }
}

/// Reads a time with units, as `90s` or `1h 30m`; without one it is in seconds.
fn seconds(text: &str) -> Option<u64> {
    let time = || {
        text.parse::<SignedDuration>()
            .ok()?
            .as_secs()
            .try_into()
            .ok()
    };
    text.parse().ok().or_else(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirm_parses_modes_and_times_with_units() {
        for (text, expected) in [
            ("off", Confirm::Off),
            ("auto", Confirm::Auto(None)),
            ("auto,5m", Confirm::Auto(Some(300))),
            ("2m", Confirm::Within(120)),
            ("90", Confirm::Within(90)),
            ("24h", Confirm::Within(86_400)),
            ("1h 30m", Confirm::Within(5400)),
            ("1m30s", Confirm::Within(90)),
        ] {
            assert_eq!(confirm(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "0",
            "m",
            "2d",
            "auto,",
            "auto,0",
            "25h",
            "-1s",
            "99999999999999999999s",
        ] {
            assert!(confirm(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_parses_counts_with_units() {
        for (text, expected) in [
            ("0", 0),
            ("50M", 50_000_000),
            ("2k", 2_000),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "M", "5X", "-1", "99999999999G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
