//! The terminal: how wide it is, which letters it has, and whether its cursor moves.

use std::{
    env,
    io::{self, IsTerminal},
};

use terminal_size::{Height, Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter, core::display_width, wrap};

/// What is not in ASCII and is said in other signs where a terminal has no more.
const ASCII_FALLBACKS: [(char, &str); 6] = [
    ('→', "->"),
    ('←', "<-"),
    ('↻', "*"),
    ('…', "..."),
    ('─', "-"),
    ('·', "|"),
];
/// No text is made narrower than that, in columns.
const MIN_WIDTH: usize = 40;

/// Lays a line of prose out for the terminal at standard output: what follows the first stands below its text, behind the label.
/// Where nothing is a terminal, lines stay whole for whoever searches them.
pub(crate) fn wrap_for_stdout(line: &str) -> String {
    wrap_for(line, terminal_size_of(io::stdout()))
}

/// As [`wrap_for_stdout`], for what goes to standard error.
pub(crate) fn wrap_for_stderr(line: &str) -> String {
    wrap_for(line, terminal_size_of(io::stderr()))
}

fn wrap_for(line: &str, terminal: Option<(Width, Height)>) -> String {
    match terminal {
        Some((Width(width), _)) => wrap_at(line, usize::from(width)),
        None => line.to_owned(),
    }
}

fn wrap_at(line: &str, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    if display_width(line) <= width {
        return line.to_owned();
    }
    let text = line.trim_start();
    let indent = " ".repeat(hanging_indent(line).min(width / 2));
    let options = Options::new(width)
        .initial_indent(&line[..line.len() - text.len()])
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    wrap(text, options).join("\n")
}

/// Returns the column where the text of a line begins: behind its label, if two spaces set one off.
fn hanging_indent(line: &str) -> usize {
    let text = line.trim_start();
    let margin = line.len() - text.len();
    match text.find("  ") {
        Some(end) => {
            let label = text[..end].to_owned();
            let gap = text[end..].len() - text[end..].trim_start().len();
            margin + display_width(&label) + gap
        }
        None => margin + 2,
    }
}

/// Says a text in the letters that whoever reads has.
pub(crate) fn to_terminal_charset(text: &str, stream: &impl IsTerminal) -> String {
    if text.is_ascii() || supports_unicode(stream) {
        text.to_owned()
    } else {
        to_ascii(text)
    }
}

fn to_ascii(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    for letter in text.chars() {
        let sign = ASCII_FALLBACKS.iter().find(|(sign, _)| *sign == letter);
        match sign {
            Some((_, other)) => said += other,
            None if letter.is_ascii() => said.push(letter),
            None => said.extend(letter.escape_unicode()),
        }
    }
    said
}

/// Whether whoever reads has more letters than ASCII: a terminal by its locale, a file or pipe always.
pub(crate) fn supports_unicode(stream: &impl IsTerminal) -> bool {
    // The first that is set counts: locale(7).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    !stream.is_terminal() || locale.is_some_and(|locale| is_utf8(&locale))
}

/// Whether a locale, for instance `de_DE.UTF-8@euro`, is of UTF-8.
fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    let without_modifier = locale.split('@').next().unwrap_or_default();
    let codeset = without_modifier.split('.').nth(1);
    matches!(codeset, Some("utf-8" | "utf8"))
}

/// A terminal that calls itself dumb gets no colours, wherever it stands: in a CI, which the library takes for
/// something that shows them, too. `CLICOLOR_FORCE` still forces them.
pub(crate) fn respect_dumb_terminals() {
    let is =
        |name: &str, wanted: fn(&str) -> bool| env::var(name).is_ok_and(|value| wanted(&value));
    if is("TERM", |term| term == "dumb") && !is("CLICOLOR_FORCE", |force| force != "0") {
        anstream::ColorChoice::Never.write_global();
    }
}

/// Whether somebody sits there who can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Whether the cursor of the terminal at standard error moves, so that something can be drawn anew in its place.
pub(crate) fn supports_cursor() -> bool {
    io::stderr().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_is_indented_behind_its_label() {
        let check = |line: &str, expected: &str| assert_eq!(wrap_at(line, 40), expected);
        check("  short", "  short");
        check(
            "  because   packets between pods are forwarded by this host",
            "  because   packets between pods are\n            forwarded by this host",
        );
        check(
            "  may cut the network: iptables-policy:filter/FORWARD: packets",
            "  may cut the network:\n    iptables-policy:filter/FORWARD:\n    packets",
        );
        check(
            "  a/path/that/is/longer/than/the/terminal/is/wide and more",
            "  a/path/that/is/longer/than/the/terminal/is/wide\n    and more",
        );
    }

    #[test]
    fn wrapping_ignores_colour_codes() {
        let line = "  \u{1b}[1mbecause\u{1b}[0m   packets are forwarded.";
        assert_eq!(wrap_at(line, 40), line);
    }

    #[test]
    fn is_utf8_reads_codeset_of_locale() {
        let utf8 = ["C.UTF-8", "en_US.utf8", "de_DE.UTF-8@euro"];
        assert!(utf8.iter().all(|locale| is_utf8(locale)));
        let other = ["C", "POSIX", "en_US", "de_DE.ISO-8859-15@euro"];
        assert!(!other.iter().any(|locale| is_utf8(locale)));
    }

    #[test]
    fn ascii_replaces_every_other_character() {
        assert_eq!(to_ascii("↻ \"é\" → …"), "* \"\\u{e9}\" -> ...");
    }
}
