//! Checks of the grammar of KDL 2 before the parser sees a text, without recursion: the parser goes one level
//! deeper on the stack for each open brace and for many of the mistakes it meets, and a full stack ends the process.

use std::sync::Arc;

use crate::{
    language::{
        error::SpecError,
        lexer::{LexError, Token, TokenKind, tokens},
        source::{Source, Span},
    },
    model::suggest,
};

/// The most braces that may be open at once.
pub(crate) const MAX_DEPTH: usize = 128;

/// The mistakes after which the check gives up.
const MAX_ERRORS: usize = 100;

const CODE: &str = "spec::syntax";
const HASH_KEYWORDS: [&str; 6] = ["#true", "#false", "#null", "#inf", "#-inf", "#nan"];

/// Returns the mistakes of grammar in a text, in the order in which they stand.
pub(crate) fn check(source: &Arc<Source>) -> Vec<SpecError> {
    let mut checker = GrammarChecker {
        source,
        errors: vec![],
        open: vec![],
        position: Position::Start,
        expected: Expected::Anything,
        slashdash: None,
        backslash: None,
        can_be_key: false,
        is_adjacent: false,
    };
    for token in tokens(&source.text) {
        checker.check_token(token);
        if checker.open.len() > MAX_DEPTH || checker.errors.len() >= MAX_ERRORS {
            return checker.errors;
        }
    }
    checker.finish();
    checker.errors
}

struct GrammarChecker<'a> {
    source: &'a Arc<Source>,
    errors: Vec<SpecError>,
    open: Vec<Brace>,
    position: Position,
    expected: Expected,
    /// A `/-` that has nothing to comment out yet.
    slashdash: Option<Token>,
    /// A `\` that has no line break to continue over yet.
    backslash: Option<Token>,
    can_be_key: bool,
    /// Whether the word before ended without a space.
    is_adjacent: bool,
}

struct Brace {
    token: Token,
    /// Where the node of the brace goes on when it closes.
    resume: Position,
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    Start,
    Entries,
    /// Behind commented-out children; the real ones may still come.
    AfterSlashdashed,
    AfterChildren,
}

#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Anything,
    Value(Token),
    Type(Token),
    TypeEnd(Token),
}

impl GrammarChecker<'_> {
    fn check_token(&mut self, token: Token) {
        let was_adjacent = std::mem::take(&mut self.is_adjacent);
        match token.kind {
            TokenKind::Space | TokenKind::BlockComment | TokenKind::LineComment => {}
            TokenKind::Newline if self.backslash.is_some() => self.backslash = None,
            TokenKind::Newline if self.slashdash.is_some() => {}
            TokenKind::Newline => self.end_node(token),
            _ if self.backslash.is_some() => {
                self.check_dangling_backslash();
                self.check_token(token);
            }
            TokenKind::Semicolon => {
                if self.position == Position::Start && self.expected == Expected::Anything {
                    self.error(token, "this `;` does not end a node", "remove it");
                }
                self.end_node(token);
            }
            TokenKind::Backslash => {
                if was_adjacent {
                    self.is_adjacent = true;
                }
                self.backslash = Some(token);
            }
            TokenKind::Slashdash => self.slashdash(token),
            TokenKind::OpenBrace => self.open(token),
            TokenKind::CloseBrace => self.close(token),
            TokenKind::OpenParen => self.open_paren(token, was_adjacent),
            TokenKind::CloseParen => self.close_paren(token),
            TokenKind::Equals => self.equals(token),
            TokenKind::Broken(fault) => self.broken(token, fault),
            _ => self.value(token, was_adjacent),
        }
    }

    fn value(&mut self, token: Token, was_adjacent: bool) {
        self.is_adjacent = true;
        self.slashdash = None;
        let text = self.text(token).to_owned();
        if was_adjacent {
            self.error(
                token,
                format!("there is no space before `{text}`"),
                "put a space between them",
            );
        }
        if token.kind == TokenKind::Word {
            self.keyword(token, &text);
        }
        match (self.expected, self.position) {
            (Expected::Type(open), _) => {
                self.expected = Expected::TypeEnd(open);
                self.is_adjacent = false;
            }
            (Expected::TypeEnd(_), _) => {
                self.error(
                    token,
                    "a type annotation is one word",
                    "write `)` before this",
                );
                self.expected = Expected::Anything;
            }
            (Expected::Value(_), at) => {
                self.expected = Expected::Anything;
                self.can_be_key = false;
                if at == Position::Start {
                    self.position = Position::Entries;
                }
            }
            (Expected::Anything, Position::Start) => {
                self.position = Position::Entries;
                self.can_be_key = false;
            }
            (Expected::Anything, Position::Entries) => self.can_be_key = true,
            (Expected::Anything, Position::AfterSlashdashed | Position::AfterChildren) => {
                self.error(
                    token,
                    format!("`{text}` follows the `}}` that ends its node"),
                    "start a new line for the next node, or write the value before the `{`",
                );
                self.position = Position::Entries;
            }
        }
    }

    fn keyword(&mut self, token: Token, text: &str) {
        if matches!(text, "true" | "false" | "null" | "inf" | "-inf" | "nan") {
            self.error(
                token,
                format!("`{text}` is written `#{text}` in KDL 2"),
                format!("write `#{text}`, or `\"{text}\"` for the text"),
            );
        } else if text.starts_with('#') && !HASH_KEYWORDS.contains(&text) {
            let help = if text == "#" || text.starts_with("##") {
                "comments start with `//`".to_owned()
            } else {
                let keywords = suggest::did_you_mean("the keywords are", text, HASH_KEYWORDS);
                format!("comments start with `//`; {keywords}")
            };
            self.error(token, format!("`{text}` is not a KDL keyword"), help);
        }
    }

    fn slashdash(&mut self, token: Token) {
        match self.expected {
            Expected::Anything => self.slashdash = Some(token),
            _ => self.check_incomplete(),
        }
    }

    fn open(&mut self, token: Token) {
        self.check_incomplete();
        let is_slashdashed = self.slashdash.take().is_some();
        let resume = match self.position {
            Position::Start => {
                self.error(
                    token,
                    "these braces do not belong to a node",
                    "write a node before the `{`, on the same line",
                );
                Position::AfterChildren
            }
            Position::AfterChildren if !is_slashdashed => {
                self.error(
                    token,
                    "the node has its braces already",
                    "put everything between one pair of braces",
                );
                Position::AfterChildren
            }
            Position::Entries | Position::AfterSlashdashed if is_slashdashed => {
                Position::AfterSlashdashed
            }
            Position::Entries | Position::AfterSlashdashed | Position::AfterChildren => {
                Position::AfterChildren
            }
        };
        self.open.push(Brace { token, resume });
        self.position = Position::Start;
        self.can_be_key = false;
        if self.open.len() > MAX_DEPTH {
            self.errors.push(
                SpecError::new(
                    "spec::too-deep",
                    format!("more than {MAX_DEPTH} braces are open here"),
                    self.span(token),
                )
                .help(
                    "a spec needs only three levels: the host, its resources and their attributes",
                ),
            );
        }
    }

    fn close(&mut self, token: Token) {
        self.check_incomplete();
        self.check_dangling_slashdash();
        self.can_be_key = false;
        match self.open.pop() {
            Some(brace) => self.position = brace.resume,
            None => self.error(
                token,
                "this `}` does not close anything",
                "remove it, or write the `{` that it closes",
            ),
        }
    }

    fn open_paren(&mut self, token: Token, was_adjacent: bool) {
        self.slashdash = None;
        if was_adjacent
            || matches!(
                self.position,
                Position::AfterSlashdashed | Position::AfterChildren
            )
        {
            self.error(
                token,
                "a type annotation must be followed by a value",
                "put texts with `(` in quotes",
            );
        }
        if matches!(self.expected, Expected::Type(_) | Expected::TypeEnd(_)) {
            self.check_incomplete();
        }
        self.expected = Expected::Type(token);
        self.can_be_key = false;
    }

    fn close_paren(&mut self, token: Token) {
        if let Expected::TypeEnd(open) = self.expected {
            self.expected = Expected::Value(Token {
                end: token.end,
                ..open
            });
        } else {
            self.error(
                token,
                "this `)` does not close anything",
                "put texts with `)` in quotes",
            );
            self.expected = Expected::Anything;
        }
    }

    fn equals(&mut self, token: Token) {
        if !std::mem::take(&mut self.can_be_key) {
            self.error(
                token,
                "`=` must be between the name of an attribute and its value",
                "write `NAME=VALUE` after the kind and the name; put texts with `=` in quotes",
            );
            return;
        }
        self.expected = Expected::Value(token);
    }

    fn broken(&mut self, token: Token, fault: LexError) {
        let text = self.text(token).to_owned();
        let opening = |length| Token {
            end: token.start + length,
            ..token
        };
        let quotes = text.len() - text.trim_start_matches(['#', '"']).len();
        match fault {
            LexError::UnclosedString => self.error(
                opening(quotes.min(text.find('"').map_or(1, |at| at + 1))),
                "this string is not closed on its line",
                "close it with the same quotes; put a text of several lines between `\"\"\"` and `\"\"\"`, each on its own line",
            ),
            LexError::UnclosedMultiline => self.error(
                opening(quotes),
                "this multi-line string is malformed",
                "start a new line after the first `\"\"\"`, and write the last `\"\"\"` on its own line",
            ),
            LexError::UnclosedComment => self.error(
                opening(2),
                "this comment is not closed",
                "write `*/` at its end; a comment inside it needs its own",
            ),
            LexError::UnknownEscape => self.error(
                token,
                "a backslash in this string is not a known escape",
                "write `\\\\` for a backslash, or `#\"…\"#` around a raw text; \
                 known escapes are \\\\ \\\" \\b \\f \\n \\r \\t \\s and \\u{…}",
            ),
            LexError::Unquoted => self.error(
                token,
                format!("`{text}` contains characters that must be quoted"),
                format!("write `\"{text}\"`"),
            ),
        }
        self.slashdash = None;
        self.expected = Expected::Anything;
        self.can_be_key = fault == LexError::Unquoted && self.position == Position::Entries;
        if self.position == Position::Start {
            self.position = Position::Entries;
        }
    }

    fn end_node(&mut self, token: Token) {
        self.check_incomplete();
        if token.kind == TokenKind::Semicolon {
            self.check_dangling_slashdash();
        }
        self.position = Position::Start;
        self.can_be_key = false;
    }

    fn finish(&mut self) {
        if self
            .backslash
            .is_some_and(|token| self.source.text[token.end..].contains('{'))
        {
            self.check_dangling_backslash();
        }
        self.check_incomplete();
        self.check_dangling_slashdash();
        if let Some(brace) = self.open.last() {
            let token = brace.token;
            self.error(
                token,
                "this `{` is not closed",
                "write `}` where its node ends",
            );
        }
    }

    fn check_incomplete(&mut self) {
        match std::mem::replace(&mut self.expected, Expected::Anything) {
            Expected::Anything => {}
            Expected::Value(token) if token.kind == TokenKind::Equals => {
                self.error(
                    token,
                    "there is no value",
                    "write it directly after the `=`",
                );
            }
            Expected::Value(token) => self.error(
                token,
                "a type annotation must be followed by a value",
                "write the value directly after the `)`",
            ),
            Expected::Type(token) | Expected::TypeEnd(token) => self.error(
                token,
                "this `(` is not closed",
                "put texts with `(` in quotes",
            ),
        }
    }

    fn check_dangling_slashdash(&mut self) {
        if let Some(token) = self.slashdash.take() {
            self.error(
                token,
                "this `/-` does not comment anything out",
                "write it before a node, an attribute or a `{`",
            );
        }
    }

    fn check_dangling_backslash(&mut self) {
        if let Some(token) = self.backslash.take() {
            self.error(
                token,
                "a backslash outside a string must be at the end of a line",
                "put texts with `\\` in quotes",
            );
        }
    }

    fn error(&mut self, token: Token, message: impl Into<String>, help: impl Into<String>) {
        let error = SpecError::new(CODE, message, self.span(token)).help(help);
        self.errors.push(error);
    }

    fn span(&self, token: Token) -> Span {
        Span::new(self.source, token.start..token.end)
    }

    fn text(&self, token: Token) -> &str {
        &self.source.text[token.start..token.end]
    }
}
