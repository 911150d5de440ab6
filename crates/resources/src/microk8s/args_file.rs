//! Argument files of MicroK8s: read as the program reads them, edited by key. Pure.

use std::collections::BTreeMap;

use stead_engine::model::schema::Problem;

/// Who reads a file, and so what can stand in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// kubelite: quotes are deleted wherever they stand, pieces are separated by blanks, `$NAME` is expanded.
    Kubelite,
    /// bash, as an array literal: words, quotes, expansions.
    #[default]
    Shell,
}

/// A flag: `None` is a bare one.
pub(crate) type FlagValue = Option<String>;

/// A file of arguments.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArgsFile {
    grammar: Grammar,
    lines: Vec<Line>,
}

/// One line: words, or something that is none.
#[derive(Clone, Debug)]
struct Line {
    /// The line as it stands, without its end.
    raw: String,
    /// Its words as they stand; none in a comment or a blank line.
    words: Vec<String>,
}

/// Where a flag stands: its line and its words in it. A value may be a word of its own, even on the next line.
#[derive(Clone, Debug)]
struct Flag {
    name: String,
    value: FlagValue,
    /// Line and word.
    positions: Vec<(usize, usize)>,
}

impl ArgsFile {
    /// Takes a text apart.
    pub(crate) fn parse(text: &str, grammar: Grammar) -> Self {
        let lines = text.lines().map(|raw| Line {
            raw: raw.to_owned(),
            words: if raw.trim().starts_with('#') {
                vec![]
            } else {
                split_words(raw, grammar)
            },
        });
        Self {
            grammar,
            lines: lines.collect(),
        }
    }

    /// Returns the flags with their values; of several with the same name the last one counts, as pflag has it.
    pub(crate) fn flags(&self) -> BTreeMap<String, FlagValue> {
        let found = self.flags_with_position().into_iter();
        found.map(|flag| (flag.name, flag.value)).collect()
    }

    /// Returns the flags that stand there several times with different values, with all of these in their order.
    pub(crate) fn conflicting_flags(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for flag in self.flags_with_position() {
            let value = flag.value.unwrap_or_else(|| "a bare flag".to_owned());
            all.entry(flag.name).or_default().push(value);
        }
        all.retain(|_, values| values.iter().any(|value| *value != values[0]));
        all
    }

    /// Sets a flag, in its place if it is there, else at the end. Of several with its name one is left.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        let word = match value {
            None => format!("--{name}"),
            Some(value) => format!("--{name}={}", self.quoted(value)),
        };
        let same: Vec<_> = self
            .flags_with_position()
            .into_iter()
            .filter(|flag| flag.name == name)
            .collect();
        let Some((last, others)) = same.split_last() else {
            self.lines.push(Line {
                raw: word.clone(),
                words: vec![word],
            });
            return;
        };
        let mut gone: Vec<_> = others
            .iter()
            .flat_map(|flag| flag.positions.clone())
            .collect();
        gone.extend(&last.positions[1..]);
        let (line, at) = last.positions[0];
        self.lines[line].words[at] = word;
        self.lines[line].render();
        self.drop_words(&gone);
    }

    /// Takes a flag away, wherever it stands.
    pub(crate) fn unset(&mut self, name: &str) {
        let gone: Vec<_> = self
            .flags_with_position()
            .into_iter()
            .filter(|flag| flag.name == name)
            .flat_map(|flag| flag.positions)
            .collect();
        self.drop_words(&gone);
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text += &line.raw;
            text.push('\n');
        }
        text
    }

    fn drop_words(&mut self, gone: &[(usize, usize)]) {
        let mut gone = gone.to_vec();
        gone.sort_unstable();
        for (line, at) in gone.into_iter().rev() {
            let there = &mut self.lines[line];
            there.words.remove(at);
            if there.words.is_empty() {
                self.lines.remove(line);
            } else {
                there.render();
            }
        }
    }

    fn flags_with_position(&self) -> Vec<Flag> {
        let mut flags: Vec<Flag> = vec![];
        let mut may_take = false;
        for (line, Line { words, .. }) in self.lines.iter().enumerate() {
            for (at, word) in words.iter().enumerate() {
                let text = self.unquoted(word);
                if let Some(flag) = text.strip_prefix('-') {
                    let flag = flag.strip_prefix('-').unwrap_or(flag);
                    let (name, value) = match flag.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (flag, None),
                    };
                    may_take = value.is_none();
                    flags.push(Flag {
                        name: name.to_owned(),
                        value,
                        positions: vec![(line, at)],
                    });
                } else if let Some(last) = flags.last_mut().filter(|_| may_take) {
                    last.value = Some(text);
                    last.positions.push((line, at));
                    may_take = false;
                }
            }
        }
        flags
    }

    fn unquoted(&self, word: &str) -> String {
        match self.grammar {
            Grammar::Kubelite => word.replace(['"', '\''], ""),
            Grammar::Shell => shlex::split(word)
                .and_then(|words| words.into_iter().next())
                .unwrap_or_else(|| word.to_owned()),
        }
    }

    fn quoted(&self, value: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+${}".contains(c);
        if self.grammar == Grammar::Kubelite || value.chars().all(is_plain) {
            value.to_owned()
        } else {
            format!("\"{value}\"")
        }
    }
}

impl Line {
    fn render(&mut self) {
        self.raw = self.words.join(" ");
    }
}

/// Says why a value cannot stand in such a file, if it cannot.
pub(crate) fn check_value(value: &str, grammar: Grammar) -> Result<(), Problem> {
    let fault = match grammar {
        _ if value.chars().any(char::is_control) => "a control character",
        Grammar::Kubelite if value.contains(char::is_whitespace) => "a space",
        Grammar::Kubelite if value.contains(['"', '\'']) => "a quote",
        Grammar::Shell if value.contains(['"', '\\', '`']) || value.contains("$(") => {
            "a double quote, a backslash or a command"
        }
        _ => return Ok(()),
    };
    let reader = match grammar {
        Grammar::Kubelite => "kubelite reads this file and does not support quoting",
        Grammar::Shell => "bash reads this file and would interpret it",
    };
    Err(Problem::new(format!(
        "`{value}` contains {fault}, which cannot be written there: {reader}"
    )))
}

/// Splits a line into words as they stand.
fn split_words(line: &str, grammar: Grammar) -> Vec<String> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quote = None;
    let mut is_escaped = false;
    for c in line.trim().chars() {
        let is_shell = grammar == Grammar::Shell;
        if is_shell && !is_escaped && (c == '"' || c == '\'') {
            quote = match quote {
                None => Some(c),
                Some(open) if open == c => None,
                open => open,
            };
        }
        if c.is_whitespace() && quote.is_none() && !is_escaped {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
        is_escaped = is_shell && c == '\\' && !is_escaped && quote != Some('\'');
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grammar: Grammar, text: &str, expected: &[(&str, Option<&str>)]) {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        assert_eq!(ArgsFile::parse(text, grammar).flags(), expected, "{text}");
    }

    #[test]
    fn conflicting_flags_requires_different_values() {
        let text = "--a=1\n--b=2\n--a 1\n--b\n--c=\"3\"\n--c=3\n";
        let args = ArgsFile::parse(text, Grammar::Kubelite);
        let found = args.conflicting_flags();
        let b = vec!["2".to_owned(), "a bare flag".to_owned()];
        assert_eq!(found, BTreeMap::from([("b".to_owned(), b)]));
    }

    #[test]
    fn flags_are_read_as_their_program_reads_them() {
        for grammar in [Grammar::Kubelite, Grammar::Shell] {
            check(
                grammar,
                "--a=1\n# --b=2\n\n--c\n",
                &[("a", Some("1")), ("c", None)],
            );
            check(grammar, "--a=1\n--a=2", &[("a", Some("2"))]);
            check(
                grammar,
                "--a 1 --b=2\n-v=4",
                &[("a", Some("1")), ("b", Some("2")), ("v", Some("4"))],
            );
            check(
                grammar,
                "--mode=\"userspace\"",
                &[("mode", Some("userspace"))],
            );
            check(
                grammar,
                "--a=${SNAP_DATA}/b",
                &[("a", Some("${SNAP_DATA}/b"))],
            );
        }
        check(Grammar::Kubelite, "--a='x y'", &[("a", Some("x"))]);
        check(Grammar::Shell, "--a='x y'", &[("a", Some("x y"))]);
        check(Grammar::Kubelite, "--a=1 # no comment", &[("a", Some("1"))]);
    }

    #[test]
    fn edit_keeps_comments_order_and_unknown_lines() {
        let text = "# head\n--a=1\n\nodd\n--mode \"userspace\"\n--b=2 --c=3\n--a=9\n";
        let mut file = ArgsFile::parse(text, Grammar::Kubelite);
        file.set("mode", Some("iptables"));
        file.set("a", Some("5"));
        file.set("b", None);
        file.set("new", Some("x"));
        file.unset("c");
        assert_eq!(
            file.text(),
            "# head\n\nodd\n--mode=iptables\n--b\n--a=5\n--new=x\n"
        );
        file.unset("new");
        file.unset("none");
        assert_eq!(file.text(), "# head\n\nodd\n--mode=iptables\n--b\n--a=5\n");
    }

    #[test]
    fn set_value_is_read_back_unchanged() {
        for grammar in [Grammar::Kubelite, Grammar::Shell] {
            for value in [
                "1",
                "a=b,c=d",
                "${SNAP}/x",
                "*",
                "a b",
                "x;y",
                "'",
                "$(id)",
                "\"",
                "ä",
            ] {
                if check_value(value, grammar).is_err() {
                    continue;
                }
                let mut file = ArgsFile::parse("--z", grammar);
                file.set("a", Some(value));
                let flags = ArgsFile::parse(&file.text(), grammar).flags();
                assert_eq!(
                    flags["a"].as_deref(),
                    Some(value),
                    "{grammar:?} {}",
                    file.text()
                );
            }
            assert!(check_value("a\nb", grammar).is_err());
        }
        assert!(check_value("a b", Grammar::Kubelite).is_err());
        assert!(check_value("$(id)", Grammar::Shell).is_err());
    }
}
