//! The words of a line as `iptables-restore` takes them and `iptables-save` prints them: `add_param_to_argv` of its `xshared.c`. A
//! shell takes them in another way: in quotes a backslash stands before any character, and outside of them nothing is special.

/// Splits a line into words; `None` if a quote is not closed.
pub(crate) fn split_saved(text: &str) -> Option<Vec<String>> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quote = Quote::Outside;
    for c in text.chars() {
        quote = match (quote, c) {
            (Quote::Inside, '\\') => Quote::Escaped,
            // The closing quote ends the word.
            (Quote::Inside, '"') => {
                words.push(std::mem::take(&mut word));
                Quote::Outside
            }
            (Quote::Inside | Quote::Escaped, other) => {
                word.push(other);
                Quote::Inside
            }
            (Quote::Outside, '"') => Quote::Inside,
            (Quote::Outside, blank) if blank.is_ascii_whitespace() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                Quote::Outside
            }
            (Quote::Outside, other) => {
                word.push(other);
                Quote::Outside
            }
        };
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    (quote == Quote::Outside).then_some(words)
}

/// Makes runs of blanks outside of quotes one blank, as `iptables-save` prints them.
pub(crate) fn collapse_blanks(text: &str) -> String {
    let mut tidy = String::new();
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in text.trim().chars() {
        if !is_quoted && c.is_ascii_whitespace() {
            if !tidy.ends_with(' ') {
                tidy.push(' ');
            }
            continue;
        }
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        tidy.push(c);
    }
    tidy
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    /// Inside, behind a backslash.
    Escaped,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let words = split_saved(text);
        let words: Option<Vec<&str>> = words
            .as_ref()
            .map(|words| words.iter().map(String::as_str).collect());
        assert_eq!(words.as_deref(), expected, "{text}");
    }

    #[test]
    fn split_saved_follows_quoting_of_iptables_restore() {
        check(
            r#"-j LOG --log-prefix "it\'s \"a\" \\ #x: ""#,
            Some(&["-j", "LOG", "--log-prefix", "it's \"a\" \\ #x: "]),
        );
        check(
            r"--comment it's\x #1",
            Some(&["--comment", "it's\\x", "#1"]),
        );
        check("a\t b  ", Some(&["a", "b"]));
        check("", Some(&[]));
        check("--comment \"open", None);
        check("--comment \"open\\\"", None);
    }

    #[test]
    fn blanks_in_quotes_stay() {
        let tidy = collapse_blanks("  -p  tcp\t--comment \"a  \\\"  b\"  -j   X ");
        assert_eq!(tidy, "-p tcp --comment \"a  \\\"  b\" -j X");
    }
}
