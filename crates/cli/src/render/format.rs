//! Values of attributes in a line of text.

use std::time::Duration;

use serde_json::Value;

/// Makes a text safe to show: control characters could redraw the terminal, and others turn the order of what follows.
pub(crate) fn escape_control(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        let is_layout = matches!(character, '\n' | '\t');
        if character.is_control() && !is_layout || is_bidi_or_break(character) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Makes a text safe to show within a line.
pub(crate) fn one_line(text: &str) -> String {
    escape_control(text)
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}

/// Cuts a text that has more than so many characters, and says by how many.
pub(crate) fn truncate(text: &str, limit: usize) -> String {
    let left = text.chars().count().saturating_sub(limit);
    if left == 0 {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    format!("{kept}… ({left} more characters)")
}

/// Whether a character turns the direction of a text (Unicode Standard Annex 9, section 2), or breaks a line where nobody sees why.
fn is_bidi_or_break(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Shows a value in one line.
pub(crate) fn format_value(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) if is_digest(text) => format!("sha256 {}", &text[..12]),
        Value::String(text) => format!("{text:?}"),
        Value::Array(values) if values.is_empty() => "set".to_owned(),
        Value::Array(values) => values
            .iter()
            .map(self::format_value)
            .collect::<Vec<_>>()
            .join(" "),
        Value::Object(map) if map.contains_key("unset") => "unset".to_owned(),
        Value::Object(map) => match (map.get("size"), map.get("sha256").and_then(Value::as_str)) {
            (Some(Value::Number(size)), Some(sha256)) => {
                let size = size.as_u64().map_or_else(String::new, format_bytes);
                format!("{size} (sha256 {})", sha256.get(..12).unwrap_or(sha256))
            }
            _ => escape_control(&value.to_string()),
        },
        other => other.to_string(),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Shows a number of bytes in units of 1000.
pub(crate) fn format_bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut rest = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        rest = whole % 1000 / 100;
        whole /= 1000;
        unit = next;
    }
    if whole < 10 {
        format!("{whole}.{rest} {unit}")
    } else {
        format!("{whole} {unit}")
    }
}

/// Shows how long something took.
pub(crate) fn format_duration(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_fit_into_a_line() {
        for (input, expected) in [
            (json!("a\nb\u{1b}"), r#""a\nb\u{1b}""#),
            (json!({"unset": true}), "unset"),
            (
                json!({"sha256": "0123456789abcdef", "size": 1_234_567}),
                "1.2 MB (sha256 0123456789ab)",
            ),
            (json!(true), "true"),
            (json!(null), "unknown"),
        ] {
            assert_eq!(format_value(&input), expected);
        }
    }

    #[test]
    fn bytes_are_shown_in_units() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (50_000_000, "50 MB"),
        ] {
            assert_eq!(format_bytes(count), expected);
        }
    }

    #[test]
    fn durations_are_shown_in_readable_units() {
        for (ms, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (61_250, "61.2 s"),
            (125_000, "2 min 5 s"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn control_characters_cannot_redraw_the_terminal() {
        assert_eq!(escape_control("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
        assert_eq!(escape_control("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
        assert_eq!(one_line("a\r\n\tb"), "a\\u{d}\\n\\tb");
    }

    #[test]
    fn shortened_counts_omitted_characters() {
        assert_eq!(truncate("äöü", 3), "äöü");
        assert_eq!(truncate("äöüß", 3), "äöü… (1 more characters)");
    }
}
