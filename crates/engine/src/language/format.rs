//! The format of a spec: four spaces for each level, one between words. Words, comments and line breaks are preserved.

use std::sync::Arc;

use crate::language::{
    error::SpecErrors,
    lexer::{Token, TokenKind, tokens},
    parse::parse,
    source::Source,
};

const LEVEL: &str = "    ";

/// Returns the text of a source in the layout of a spec; the same text if it has it already.
///
/// # Errors
/// Mistakes of grammar: what cannot be read is not laid out.
pub fn format(source: &Arc<Source>) -> Result<String, SpecErrors> {
    parse(source)?;
    Ok(format_text(&source.text))
}

/// Words of one line of the text; strings and comments of several lines are one word.
#[derive(Default)]
struct Line<'a> {
    words: Vec<Word<'a>>,
}

#[derive(Clone, Copy)]
struct Word<'a> {
    kind: TokenKind,
    text: &'a str,
    touches_previous: bool,
}

fn format_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut is_continued = false;
    let mut was_blank = true;
    for line in lines(text) {
        let Some(first) = line.words.first() else {
            if !was_blank {
                out.push('\n');
                was_blank = true;
            }
            continue;
        };
        if first.kind == TokenKind::CloseBrace && out.ends_with("\n\n") {
            out.pop();
        }
        let closes = line
            .words
            .iter()
            .take_while(|word| word.kind == TokenKind::CloseBrace)
            .count();
        let level = depth.saturating_sub(closes) + usize::from(is_continued);
        line.write(&mut out, level);
        for word in &line.words {
            match word.kind {
                TokenKind::OpenBrace => depth += 1,
                TokenKind::CloseBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let code = line.words.iter().rfind(|word| !is_comment(word.kind));
        is_continued = code.map_or(is_continued, |word| word.kind == TokenKind::Backslash);
        // A line break at the start of a block is as good as none.
        was_blank = code.is_some_and(|word| word.kind == TokenKind::OpenBrace) || is_continued;
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines = vec![Line::default()];
    let mut touches_previous = false;
    for Token { kind, start, end } in tokens(text) {
        match kind {
            TokenKind::Space => touches_previous = false,
            TokenKind::Newline => lines.push(Line::default()),
            _ => {
                let line = lines.last_mut().expect("there is always one");
                line.words.push(Word {
                    kind,
                    text: &text[start..end],
                    touches_previous,
                });
                touches_previous = true;
            }
        }
    }
    lines
}

impl Line<'_> {
    fn write(&self, out: &mut String, level: usize) {
        let indentation = LEVEL.repeat(level);
        out.push_str(&indentation);
        let mut before: Option<&Word<'_>> = None;
        for word in &self.words {
            if before.is_some_and(|before| needs_space(before, word)) {
                out.push(' ');
            }
            match word.kind {
                TokenKind::Multiline | TokenKind::RawMultiline => {
                    out.push_str(&reindent(word.text, &(LEVEL.to_owned() + &indentation)));
                }
                _ => out.push_str(word.text.trim_end_matches([' ', '\t'])),
            }
            before = Some(word);
        }
        out.push('\n');
    }
}

fn is_comment(lexeme: TokenKind) -> bool {
    matches!(lexeme, TokenKind::LineComment | TokenKind::BlockComment)
}

fn needs_space(before: &Word<'_>, word: &Word<'_>) -> bool {
    match (before.kind, word.kind) {
        (TokenKind::OpenParen | TokenKind::Equals, _)
        | (_, TokenKind::CloseParen | TokenKind::Equals | TokenKind::Semicolon)
        | (TokenKind::OpenBrace, TokenKind::CloseBrace) => {
            is_comment(before.kind) || is_comment(word.kind)
        }
        (TokenKind::CloseParen, _) => is_comment(word.kind),
        (TokenKind::Slashdash, _) => !word.touches_previous,
        _ => true,
    }
}

/// Moves a string of several lines so that its closing quotes stand behind `indentation`. Left alone where its lines are not
/// plainly indented, because moving them could change what they mean.
fn reindent(text: &str, indentation: &str) -> String {
    let unified = text.replace("\r\n", "\n");
    let mut lines: Vec<&str> = unified.split('\n').collect();
    let is_plain = !unified.contains(['\r', '\u{85}', '\u{b}', '\u{c}', '\u{2028}', '\u{2029}'])
        && !unified.contains("\\\n")
        && !unified.contains("\\ ")
        && !unified.contains("\\\t");
    let (Some(opening), Some(closing)) = (lines.first().copied(), lines.last().copied()) else {
        return text.to_owned();
    };
    let quotes = closing.trim_start();
    let prefix = &closing[..closing.len() - quotes.len()];
    let body = &mut lines[1..];
    let fits = |line: &&str| line.trim().is_empty() || line.starts_with(prefix);
    if !is_plain || !body.iter().all(fits) {
        return text.to_owned();
    }
    let mut shifted = opening.to_owned();
    for line in body {
        shifted.push('\n');
        if !line.trim().is_empty() {
            shifted.push_str(indentation);
            shifted.push_str(&line[prefix.len()..]);
        }
    }
    shifted
}

#[cfg(test)]
mod tests {
    use kdl::KdlDocument;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        let source = Arc::new(Source::new("host.kdl", text.to_owned()));
        let formatted = format(&source).unwrap();
        assert_eq!(formatted, expected);
        assert_eq!(format_text(&formatted), formatted, "twice is once");
        assert_eq!(meaning(&formatted), meaning(text));
    }

    fn meaning(text: &str) -> String {
        let mut document = KdlDocument::parse_v2(text).unwrap();
        document.autoformat_no_comments();
        document.to_string()
    }

    #[test]
    fn format_changes_only_whitespace() {
        check(
            "// A laptop.\nhost   \"x\" {\n\n\n  sysctl \"a.b\"   \"1\"// why\n\n\n\n  file \"/a\" mode = \"0644\"{\n\
             \n content \"x\" ; }\n/* one\n  two */\n  /-directory \"/b\" { }\n\n}",
            "// A laptop.\nhost \"x\" {\n    sysctl \"a.b\" \"1\" // why\n\n    file \"/a\" mode=\"0644\" {\n        \
             content \"x\"; }\n    /* one\n  two */\n    /-directory \"/b\" {}\n}\n",
        );
    }

    #[test]
    fn format_indents_continued_lines() {
        check(
            "host \"x\" {\nmatch \"-p\" \\\n\"tcp\" \\ // why\n  \"--dport\"\nb\n}\n",
            "host \"x\" {\n    match \"-p\" \\\n        \"tcp\" \\ // why\n        \"--dport\"\n    b\n}\n",
        );
    }

    #[test]
    fn format_reindents_multiline_strings() {
        check(
            "a {\n  b \"\"\"\n  one\n\n    two\n  \"\"\" c=#\"\"\"\n   raw \\\n \"\"\"#\n}\n",
            "a {\n    b \"\"\"\n        one\n\n          two\n        \"\"\" c=#\"\"\"\n   raw \\\n \"\"\"#\n}\n",
        );
    }

    #[test]
    fn format_keeps_empty_text_empty() {
        assert_eq!(format_text("\n\n"), "");
        assert_eq!(format_text(""), "");
    }

    fn blank() -> impl Strategy<Value = String> {
        prop::sample::select(vec![" ", "   ", "\t", " /* c */ ", " \\\n  ", " \\ // c\n"])
            .prop_map(str::to_owned)
    }

    fn word() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "a",
            "\"b c\"",
            "#\"r\\\"#",
            "12",
            "#true",
            "k=1",
            "k = \"v\"",
            "\"\"\"\n    one\n\n  two\n  \"\"\"",
            "\"\"\"\n  one\n   \\   two\n  \"\"\"",
            "/-x",
            "(t)\"y\"",
        ])
        .prop_map(str::to_owned)
    }

    fn line() -> impl Strategy<Value = String> {
        prop::collection::vec((blank(), word()), 0..5).prop_map(|words| {
            words
                .into_iter()
                .fold("n".to_owned(), |line, (blank, word)| line + &blank + &word)
        })
    }

    fn node() -> impl Strategy<Value = String> {
        let end = || prop::sample::select(vec!["\n", "\n\n\n", ";", " // c\n", "  \n", "\r\n"]);
        let leaf = (line(), end()).prop_map(|(line, end)| line + end);
        leaf.prop_recursive(3, 24, 4, move |inner| {
            (line(), blank(), prop::collection::vec(inner, 0..4), end()).prop_map(
                |(line, blank, inner, end)| format!("{line}{blank}{{{}}}{end}", inner.concat()),
            )
        })
    }

    proptest! {
        #[test]
        fn format_preserves_meaning_and_is_idempotent(nodes in prop::collection::vec(node(), 0..4)) {
            let text = nodes.concat();
            prop_assume!(KdlDocument::parse_v2(&text).is_ok());
            let formatted = format_text(&text);
            prop_assert_eq!(meaning(&formatted), meaning(&text), "{}", formatted);
            prop_assert_eq!(format_text(&formatted), formatted.clone());
        }
    }
}
