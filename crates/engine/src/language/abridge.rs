//! A text with one character for each long run of plain ones in its strings. The parser takes a third of a microsecond for each
//! character of a string and does not interpret these; afterwards they are restored.

use std::ops::Range;

use crate::language::lexer::{Token, TokenKind, is_plain, tokens};

/// Stands for a run. A text that has it, or may by an escape, is left as it is.
const PLACEHOLDER: char = '\u{e000}';
/// What an escape of any character begins with.
const UNICODE_ESCAPE: &str = "\\u";

/// Bytes of a run that is worth it.
const MIN_ELIDED: usize = 16;

/// A text without long runs.
pub(crate) struct ShortenedText<'a> {
    source: &'a str,
    pub(crate) text: String,
    elisions: Vec<Elision>,
}

/// What was left out.
struct Elision {
    /// Where it stands in the whole.
    range: Range<usize>,
    /// Where the character stands that stands for it.
    placeholder: usize,
}

impl<'a> ShortenedText<'a> {
    /// Abridges a text whose grammar was checked.
    pub(crate) fn new(source: &'a str) -> Self {
        let mut abridged = Self {
            source,
            text: String::with_capacity(source.len()),
            elisions: vec![],
        };
        let mut copied = 0;
        if !source.contains(PLACEHOLDER) && !source.contains(UNICODE_ESCAPE) {
            let is_string =
                |token: &Token| matches!(token.kind, TokenKind::Quoted | TokenKind::Multiline);
            for token in tokens(source).filter(is_string) {
                for range in long_runs(&source[..token.end], token.start) {
                    abridged.text.push_str(&source[copied..range.start]);
                    let placeholder = abridged.text.len();
                    abridged.text.push(PLACEHOLDER);
                    copied = range.end;
                    abridged.elisions.push(Elision { range, placeholder });
                }
            }
        }
        abridged.text.push_str(&source[copied..]);
        abridged
    }

    /// Returns where a place of the abridged text is in the whole.
    pub(crate) fn to_source_offset(&self, at: usize) -> usize {
        match self.elisions[..self.count_before(at)].last() {
            Some(run) => run.range.end + at - (run.placeholder + PLACEHOLDER.len_utf8()),
            None => at,
        }
    }

    /// Puts back what was left out of a value that ends there in the abridged text; `None` if that is nothing.
    pub(crate) fn restore(&self, value: &str, end: usize) -> Option<String> {
        let last = self.count_before(end);
        let runs = &self.elisions[last - value.matches(PLACEHOLDER).count().min(last)..last];
        if runs.is_empty() {
            return None;
        }
        let mut runs = runs.iter().map(|run| &self.source[run.range.clone()]);
        let mut whole = String::new();
        for (number, part) in value.split(PLACEHOLDER).enumerate() {
            if number > 0 {
                whole.push_str(runs.next().unwrap_or_default());
            }
            whole.push_str(part);
        }
        Some(whole)
    }

    /// Counts the runs whose stand-ins begin before a place.
    fn count_before(&self, at: usize) -> usize {
        self.elisions.partition_point(|run| run.placeholder < at)
    }
}

/// Finds the long runs of a string that begins at `at` and ends with the text. No space is at an end of them: spaces may be indentation.
fn long_runs(text: &str, mut at: usize) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut runs = vec![];
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            let escaped = text[at + 1..].chars().next();
            at += 1 + escaped.map_or(0, char::len_utf8);
            continue;
        }
        let length = bytes[at..].iter().position(|byte| !is_plain(*byte));
        let end = length.map_or(bytes.len(), |length| at + length);
        let run = text[at..end].trim_matches(' ');
        if run.len() >= MIN_ELIDED {
            let start = end - text[at..end].trim_start_matches(' ').len();
            runs.push(start..start + run.len());
        }
        at = if end == at { at + 1 } else { end };
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(whole: &str, expected: &str, values: &[(&str, &str)]) {
        let abridged = ShortenedText::new(whole);
        assert_eq!(abridged.text.replace(PLACEHOLDER, "_"), expected);
        for (short, long) in values {
            let short = short.replace('_', &PLACEHOLDER.to_string());
            let start = abridged.text.find(&short).unwrap();
            let restored = abridged.restore(&short, start + short.len());
            assert_eq!(restored.as_deref(), Some(*long));
            assert_eq!(abridged.to_source_offset(start), whole.find(long).unwrap());
            let end = abridged.to_source_offset(start + short.len());
            assert_eq!(end, whole.find(long).unwrap() + long.len());
        }
    }

    #[test]
    fn long_text_is_elided_and_restored() {
        let long = "plain text, long enough";
        check(
            &format!("a \"{long}\" \"b\" \"{long}\\n{long} \" \"{long} ü\""),
            "a \"_\" \"b\" \"_\\n_ \" \"_ ü\"",
            &[
                ("_\\n_ ", &format!("{long}\\n{long} ")),
                ("_ ü", &format!("{long} ü")),
            ],
        );
        check("a \"short\"", "a \"short\"", &[]);
        check("a \"\\\\nothing but plain text\"", "a \"\\\\_\"", &[]);
        let raw = format!("a #\"{long}\"#");
        check(&raw, &raw, &[]);
        for taken in [PLACEHOLDER.to_string(), format!("{UNICODE_ESCAPE}{{e000}}")] {
            let text = format!("a \"{taken}\" \"{long}\"");
            assert_eq!(ShortenedText::new(&text).text, text);
        }
    }

    #[test]
    fn elision_keeps_indentation() {
        check(
            "a \"\"\"\n    plain text, long enough   \n      \n    \"\"\"",
            "a \"\"\"\n    _   \n      \n    \"\"\"",
            &[("_", "plain text, long enough")],
        );
    }
}
