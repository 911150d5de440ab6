//! Checks of the grammar of KDL 2 before the parser sees a text, without recursion: the parser goes one level
//! deeper on the stack for each open brace and for many of the mistakes it meets, and a full stack ends the process.

use std::sync::Arc;

use crate::{
    language::{
        error::SpecError,
        lexer::{Fault, Lexeme, Token, tokens},
        source::{Source, Span},
    },
    model::suggest,
};

/// The most braces that may be open at once.
pub(crate) const DEPTH: usize = 128;

/// The mistakes after which the check gives up.
const ENOUGH: usize = 100;

const CODE: &str = "spec::syntax";
const KEYWORDS: [&str; 6] = ["#true", "#false", "#null", "#inf", "#-inf", "#nan"];

/// Returns the mistakes of grammar in a text, in the order in which they stand.
pub(crate) fn check(source: &Arc<Source>) -> Vec<SpecError> {
    let mut checker = Checker {
        source,
        errors: vec![],
        open: vec![],
        at: At::Start,
        wants: Wants::Anything,
        slashdash: None,
        backslash: None,
        can_be_key: false,
        is_glued: false,
    };
    for token in tokens(&source.text) {
        checker.take(token);
        if checker.open.len() > DEPTH || checker.errors.len() >= ENOUGH {
            return checker.errors;
        }
    }
    checker.finish();
    checker.errors
}

struct Checker<'a> {
    source: &'a Arc<Source>,
    errors: Vec<SpecError>,
    open: Vec<Brace>,
    at: At,
    wants: Wants,
    /// A `/-` that has nothing to comment out yet.
    slashdash: Option<Token>,
    /// A `\` that has no line break to continue over yet.
    backslash: Option<Token>,
    can_be_key: bool,
    /// Whether the word before ended without a space.
    is_glued: bool,
}

struct Brace {
    token: Token,
    /// Where the node of the brace goes on when it closes.
    then: At,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Start,
    Entries,
    /// Behind commented-out children; the real ones may still come.
    AfterSlashdashed,
    AfterChildren,
}

#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Anything,
    Value(Token),
    Type(Token),
    TypeEnd(Token),
}

impl Checker<'_> {
    fn take(&mut self, token: Token) {
        let was_glued = std::mem::take(&mut self.is_glued);
        match token.lexeme {
            Lexeme::Space | Lexeme::BlockComment | Lexeme::LineComment => {}
            Lexeme::Newline if self.backslash.is_some() => self.backslash = None,
            Lexeme::Newline if self.slashdash.is_some() => {}
            Lexeme::Newline => self.end_node(token),
            _ if self.backslash.is_some() => {
                self.backslash_is_lost();
                self.take(token);
            }
            Lexeme::Semicolon => {
                if self.at == At::Start && self.wants == Wants::Anything {
                    self.error(token, "this `;` does not end a node", "remove it");
                }
                self.end_node(token);
            }
            Lexeme::Backslash => {
                if was_glued {
                    self.is_glued = true;
                }
                self.backslash = Some(token);
            }
            Lexeme::Slashdash => self.slashdash(token),
            Lexeme::Open => self.open(token),
            Lexeme::Close => self.close(token),
            Lexeme::OpenParen => self.open_paren(token, was_glued),
            Lexeme::CloseParen => self.close_paren(token),
            Lexeme::Equals => self.equals(token),
            Lexeme::Broken(fault) => self.broken(token, fault),
            _ => self.value(token, was_glued),
        }
    }

    fn value(&mut self, token: Token, was_glued: bool) {
        self.is_glued = true;
        self.slashdash = None;
        let text = self.text(token).to_owned();
        if was_glued {
            self.error(
                token,
                format!("there is no space before `{text}`"),
                "put a space between them",
            );
        }
        if token.lexeme == Lexeme::Word {
            self.keyword(token, &text);
        }
        match (self.wants, self.at) {
            (Wants::Type(open), _) => {
                self.wants = Wants::TypeEnd(open);
                self.is_glued = false;
            }
            (Wants::TypeEnd(_), _) => {
                self.error(
                    token,
                    "a type annotation is one word",
                    "write `)` before this",
                );
                self.wants = Wants::Anything;
            }
            (Wants::Value(_), at) => {
                self.wants = Wants::Anything;
                self.can_be_key = false;
                if at == At::Start {
                    self.at = At::Entries;
                }
            }
            (Wants::Anything, At::Start) => {
                self.at = At::Entries;
                self.can_be_key = false;
            }
            (Wants::Anything, At::Entries) => self.can_be_key = true,
            (Wants::Anything, At::AfterSlashdashed | At::AfterChildren) => {
                self.error(
                    token,
                    format!("`{text}` follows the `}}` that ends its node"),
                    "start a new line for the next node, or write the value before the `{`",
                );
                self.at = At::Entries;
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
        } else if text.starts_with('#') && !KEYWORDS.contains(&text) {
            let help = if text == "#" || text.starts_with("##") {
                "comments start with `//`".to_owned()
            } else {
                let keywords = suggest::help("the keywords are", text, KEYWORDS);
                format!("comments start with `//`; {keywords}")
            };
            self.error(token, format!("`{text}` is not a KDL keyword"), help);
        }
    }

    fn slashdash(&mut self, token: Token) {
        match self.wants {
            Wants::Anything => self.slashdash = Some(token),
            _ => self.something_is_missing(),
        }
    }

    fn open(&mut self, token: Token) {
        self.something_is_missing();
        let is_slashdashed = self.slashdash.take().is_some();
        let then = match self.at {
            At::Start => {
                self.error(
                    token,
                    "these braces do not belong to a node",
                    "write a node before the `{`, on the same line",
                );
                At::AfterChildren
            }
            At::AfterChildren if !is_slashdashed => {
                self.error(
                    token,
                    "the node has its braces already",
                    "put everything between one pair of braces",
                );
                At::AfterChildren
            }
            At::Entries | At::AfterSlashdashed if is_slashdashed => At::AfterSlashdashed,
            At::Entries | At::AfterSlashdashed | At::AfterChildren => At::AfterChildren,
        };
        self.open.push(Brace { token, then });
        self.at = At::Start;
        self.can_be_key = false;
        if self.open.len() > DEPTH {
            self.errors.push(
                SpecError::new(
                    "spec::too-deep",
                    format!("more than {DEPTH} braces are open here"),
                    self.span(token),
                )
                .help(
                    "a spec needs only three levels: the host, its resources and their attributes",
                ),
            );
        }
    }

    fn close(&mut self, token: Token) {
        self.something_is_missing();
        self.nothing_is_commented_out();
        self.can_be_key = false;
        match self.open.pop() {
            Some(brace) => self.at = brace.then,
            None => self.error(
                token,
                "this `}` does not close anything",
                "remove it, or write the `{` that it closes",
            ),
        }
    }

    fn open_paren(&mut self, token: Token, was_glued: bool) {
        self.slashdash = None;
        if was_glued || matches!(self.at, At::AfterSlashdashed | At::AfterChildren) {
            self.error(
                token,
                "a type annotation must be followed by a value",
                "put texts with `(` in quotes",
            );
        }
        if matches!(self.wants, Wants::Type(_) | Wants::TypeEnd(_)) {
            self.something_is_missing();
        }
        self.wants = Wants::Type(token);
        self.can_be_key = false;
    }

    fn close_paren(&mut self, token: Token) {
        if let Wants::TypeEnd(open) = self.wants {
            self.wants = Wants::Value(Token {
                end: token.end,
                ..open
            });
        } else {
            self.error(
                token,
                "this `)` does not close anything",
                "put texts with `)` in quotes",
            );
            self.wants = Wants::Anything;
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
        self.wants = Wants::Value(token);
    }

    fn broken(&mut self, token: Token, fault: Fault) {
        let text = self.text(token).to_owned();
        let opening = |length| Token {
            end: token.start + length,
            ..token
        };
        let quotes = text.len() - text.trim_start_matches(['#', '"']).len();
        match fault {
            Fault::OpenString => self.error(
                opening(quotes.min(text.find('"').map_or(1, |at| at + 1))),
                "this string is not closed on its line",
                "close it with the same quotes; put a text of several lines between `\"\"\"` and `\"\"\"`, each on its own line",
            ),
            Fault::OpenMultiline => self.error(
                opening(quotes),
                "this multi-line string is malformed",
                "start a new line after the first `\"\"\"`, and write the last `\"\"\"` on its own line",
            ),
            Fault::OpenComment => self.error(
                opening(2),
                "this comment is not closed",
                "write `*/` at its end; a comment inside it needs its own",
            ),
            Fault::Escape => self.error(
                token,
                "a backslash in this string is not a known escape",
                "write `\\\\` for a backslash, or `#\"…\"#` around a raw text; \
                 known escapes are \\\\ \\\" \\b \\f \\n \\r \\t \\s and \\u{…}",
            ),
            Fault::Unquoted => self.error(
                token,
                format!("`{text}` contains characters that must be quoted"),
                format!("write `\"{text}\"`"),
            ),
        }
        self.slashdash = None;
        self.wants = Wants::Anything;
        self.can_be_key = fault == Fault::Unquoted && self.at == At::Entries;
        if self.at == At::Start {
            self.at = At::Entries;
        }
    }

    fn end_node(&mut self, token: Token) {
        self.something_is_missing();
        if token.lexeme == Lexeme::Semicolon {
            self.nothing_is_commented_out();
        }
        self.at = At::Start;
        self.can_be_key = false;
    }

    fn finish(&mut self) {
        if self
            .backslash
            .is_some_and(|token| self.source.text[token.end..].contains('{'))
        {
            self.backslash_is_lost();
        }
        self.something_is_missing();
        self.nothing_is_commented_out();
        if let Some(brace) = self.open.last() {
            let token = brace.token;
            self.error(
                token,
                "this `{` is not closed",
                "write `}` where its node ends",
            );
        }
    }

    fn something_is_missing(&mut self) {
        match std::mem::replace(&mut self.wants, Wants::Anything) {
            Wants::Anything => {}
            Wants::Value(token) if token.lexeme == Lexeme::Equals => {
                self.error(
                    token,
                    "there is no value",
                    "write it directly after the `=`",
                );
            }
            Wants::Value(token) => self.error(
                token,
                "a type annotation must be followed by a value",
                "write the value directly after the `)`",
            ),
            Wants::Type(token) | Wants::TypeEnd(token) => self.error(
                token,
                "this `(` is not closed",
                "put texts with `(` in quotes",
            ),
        }
    }

    fn nothing_is_commented_out(&mut self) {
        if let Some(token) = self.slashdash.take() {
            self.error(
                token,
                "this `/-` does not comment anything out",
                "write it before a node, an attribute or a `{`",
            );
        }
    }

    fn backslash_is_lost(&mut self) {
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
        Span::of(self.source, token.start..token.end)
    }

    fn text(&self, token: Token) -> &str {
        &self.source.text[token.start..token.end]
    }
}
