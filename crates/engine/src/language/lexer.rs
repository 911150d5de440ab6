//! The words of a KDL 2 text, without recursion: what the checks before parsing and the formatter work on.
//! It follows the grammar of the KDL 2.0.0 specification (kdl.dev/spec).

/// One word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Offset behind its last byte.
    pub(crate) end: usize,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Space,
    Newline,
    LineComment,
    BlockComment,
    Backslash,
    Slashdash,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Equals,
    Semicolon,
    /// An identifier, a number, or a keyword with its `#`.
    Word,
    /// A string in quotes, on one line.
    Quoted,
    /// A string in three quotes.
    Multiline,
    /// A string in hashes and quotes, on one line.
    Raw,
    /// A string in hashes and three quotes.
    RawMultiline,
    /// Text that no KDL 2 parser can read.
    Broken(LexError),
}

/// What is wrong with a broken word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LexError {
    /// A string without its closing quotes, or with a line break.
    UnclosedString,
    /// A string in three quotes that begins on the line of the quotes, or is not closed.
    UnclosedMultiline,
    /// A comment without its closing `*/`.
    UnclosedComment,
    /// A backslash and a character that mean nothing together.
    UnknownEscape,
    /// A word with a character that must be quoted, such as `/`.
    Unquoted,
}

/// Splits a text into its words; together they cover the text, except a byte order mark.
pub(crate) fn tokens(text: &str) -> Tokens<'_> {
    let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    Tokens { text, at }
}

/// Whether a character is a space of KDL 2.
pub(crate) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// Whether a character breaks a line in KDL 2.
pub(crate) fn is_newline(c: char) -> bool {
    matches!(
        c,
        '\r' | '\n' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}'
    )
}

/// Iterates over the words of a text.
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let rest = &self.text[self.at..];
        let (kind, length) = next_token(rest)?;
        let start = self.at;
        self.at += length;
        Some(Token {
            kind,
            start,
            end: self.at,
        })
    }
}

fn next_token(rest: &str) -> Option<(TokenKind, usize)> {
    let c = rest.chars().next()?;
    let single = |lexeme| (lexeme, 1);
    Some(match c {
        _ if is_space(c) => (TokenKind::Space, length_while(rest, is_space)),
        '\r' if rest.starts_with("\r\n") => (TokenKind::Newline, 2),
        _ if is_newline(c) => (TokenKind::Newline, c.len_utf8()),
        '{' => single(TokenKind::OpenBrace),
        '}' => single(TokenKind::CloseBrace),
        '(' => single(TokenKind::OpenParen),
        ')' => single(TokenKind::CloseParen),
        '=' => single(TokenKind::Equals),
        ';' => single(TokenKind::Semicolon),
        '\\' => single(TokenKind::Backslash),
        '/' if rest.starts_with("//") => (
            TokenKind::LineComment,
            length_while(rest, |c| !is_newline(c)),
        ),
        '/' if rest.starts_with("/*") => block_comment(rest),
        '/' if rest.starts_with("/-") => (TokenKind::Slashdash, 2),
        '"' => quoted_string(rest),
        '#' => raw_string(rest).unwrap_or_else(|| bare_word(rest)),
        _ => bare_word(rest),
    })
}

fn length_while(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn block_comment(rest: &str) -> (TokenKind, usize) {
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return (TokenKind::BlockComment, at);
        }
    }
    (TokenKind::Broken(LexError::UnclosedComment), rest.len())
}

fn bare_word(rest: &str) -> (TokenKind, usize) {
    let mut is_broken = false;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        let tail = &rest[at..];
        if is_space(c)
            || is_newline(c)
            || matches!(c, '{' | '}' | '(' | ')' | '=' | ';' | '"' | '\\')
            || tail.starts_with("//")
            || tail.starts_with("/*")
        {
            end = at;
            break;
        }
        is_broken |= matches!(c, '/' | '[' | ']') || c == '#' && at > 0;
    }
    let lexeme = if is_broken {
        TokenKind::Broken(LexError::Unquoted)
    } else {
        TokenKind::Word
    };
    (lexeme, end)
}

fn quoted_string(rest: &str) -> (TokenKind, usize) {
    if let Some(body) = rest.strip_prefix("\"\"\"") {
        if !body.starts_with(is_newline) {
            return (
                TokenKind::Broken(LexError::UnclosedMultiline),
                line_length(rest),
            );
        }
        return string_end(body, "\"\"\"").map_or(
            (TokenKind::Broken(LexError::UnclosedMultiline), rest.len()),
            |(fault, end)| {
                (
                    fault.map_or(TokenKind::Multiline, TokenKind::Broken),
                    3 + end,
                )
            },
        );
    }
    match string_end(&rest[1..], "\"") {
        None => (
            TokenKind::Broken(LexError::UnclosedString),
            line_length(rest),
        ),
        Some((fault, end)) => (fault.map_or(TokenKind::Quoted, TokenKind::Broken), 1 + end),
    }
}

/// Finds the end of a string, closing quotes included, and the first escape that means nothing.
fn string_end(body: &str, closing: &str) -> Option<(Option<LexError>, usize)> {
    let mut fault = None;
    let mut at = 0;
    loop {
        let rest = &body.as_bytes()[at..];
        at += rest.iter().position(|&byte| !is_plain(byte))?;
        let rest = &body[at..];
        if rest.starts_with(closing) {
            return Some((fault, at + closing.len()));
        }
        let c = rest.chars().next()?;
        if c == '\\' {
            let Some(length) = escape_length(&rest[1..]) else {
                fault = Some(LexError::UnknownEscape);
                at += 1 + rest[1..].chars().next()?.len_utf8();
                continue;
            };
            at += 1 + length;
        } else if is_newline(c) && closing.len() == 1 {
            return None;
        } else {
            at += c.len_utf8();
        }
    }
}

/// Whether a byte of a string is a character that means nothing but itself.
pub(crate) fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn escape_length(rest: &str) -> Option<usize> {
    let c = rest.chars().next()?;
    if is_space(c) || is_newline(c) {
        return Some(length_while(rest, |c| is_space(c) || is_newline(c)));
    }
    match c {
        '\\' | '"' | 'b' | 'f' | 'n' | 'r' | 't' | 's' => Some(1),
        'u' => {
            let digits = rest.strip_prefix("u{")?.split_once('}')?.0;
            let is_scalar = !digits.is_empty()
                && digits.len() <= 6
                && digits.bytes().all(|b| b.is_ascii_hexdigit())
                && u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .is_some();
            is_scalar.then_some(digits.len() + 3)
        }
        _ => None,
    }
}

fn raw_string(rest: &str) -> Option<(TokenKind, usize)> {
    let hashes = length_while(rest, |c| c == '#');
    let body = rest[hashes..].strip_prefix('"')?;
    let multiline = body
        .strip_prefix("\"\"")
        .filter(|body| body.starts_with(is_newline));
    if let Some(body) = multiline {
        let closing = format!("\"\"\"{}", &rest[..hashes]);
        return Some(match body.find(&closing) {
            Some(end) => (TokenKind::RawMultiline, hashes + 3 + end + closing.len()),
            None => (TokenKind::Broken(LexError::UnclosedMultiline), rest.len()),
        });
    }
    let closing = format!("\"{}", &rest[..hashes]);
    let on_this_line = &body[..line_length(body)];
    Some(match on_this_line.find(&closing) {
        Some(end) => (TokenKind::Raw, hashes + 1 + end + closing.len()),
        None => (
            TokenKind::Broken(LexError::UnclosedString),
            hashes + 1 + on_this_line.len(),
        ),
    })
}

/// Returns the number of bytes before the first line break.
fn line_length(text: &str) -> usize {
    length_while(text, |c| !is_newline(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(TokenKind, &str)]) {
        let found: Vec<_> = tokens(text)
            .filter(|token| token.kind != TokenKind::Space)
            .map(|token| (token.kind, &text[token.start..token.end]))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn lexer_ignores_braces_in_strings_and_comments() {
        check(
            r##"a "{\"{" #"{"{"# /* { /* { */ { */ // {"##,
            &[
                (TokenKind::Word, "a"),
                (TokenKind::Quoted, r#""{\"{""#),
                (TokenKind::Raw, r##"#"{"{"#"##),
                (TokenKind::BlockComment, "/* { /* { */ { */"),
                (TokenKind::LineComment, "// {"),
            ],
        );
    }

    #[test]
    fn multiline_strings_end_at_three_quotes() {
        check(
            "\"\"\"\n {\" \\\"\"\" \"\"\n \"\"\" {",
            &[
                (TokenKind::Multiline, "\"\"\"\n {\" \\\"\"\" \"\"\n \"\"\""),
                (TokenKind::OpenBrace, "{"),
            ],
        );
        check(
            "#\"\"\"\n \"\"\" { \\\n \"\"\"# {",
            &[
                (TokenKind::RawMultiline, "#\"\"\"\n \"\"\" { \\\n \"\"\"#"),
                (TokenKind::OpenBrace, "{"),
            ],
        );
    }

    #[test]
    fn lexer_reports_unclosed_and_invalid_tokens() {
        check(
            "\"a\n\"b\"",
            &[
                (TokenKind::Broken(LexError::UnclosedString), "\"a"),
                (TokenKind::Newline, "\n"),
                (TokenKind::Quoted, "\"b\""),
            ],
        );
        check(
            "/* /* */",
            &[(TokenKind::Broken(LexError::UnclosedComment), "/* /* */")],
        );
        check(
            r#""\q""#,
            &[(TokenKind::Broken(LexError::UnknownEscape), r#""\q""#)],
        );
        check(
            "/etc/x",
            &[(TokenKind::Broken(LexError::Unquoted), "/etc/x")],
        );
    }
}
