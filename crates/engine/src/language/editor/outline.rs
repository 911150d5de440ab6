//! The nodes of a text, even if it is incomplete: built from the tokens of the lexer alone, so that half-typed nodes have a position, too.

use std::ops::Range;

use kdl::KdlDocument;

use crate::language::{
    grammar::MAX_DEPTH,
    lexer::{LexError, Token, TokenKind, tokens},
};

/// The nodes of a text.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Those at its top.
    pub nodes: Vec<Node>,
    /// Where comments stand.
    pub comments: Vec<Range<usize>>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name: a kind, or a word of the language.
    pub name: Word,
    /// What stands behind its name.
    pub entries: Vec<NodeEntry>,
    /// All before its braces, up to the line break or brace that ends it.
    pub head: Range<usize>,
    /// What is between its braces.
    pub body: Option<Range<usize>>,
    /// The nodes in it.
    pub children: Vec<Node>,
}

/// One argument or property of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeEntry {
    /// The name before a `=`.
    pub property: Option<Word>,
    /// The word in parentheses before the value.
    pub annotation: Option<Word>,
    /// The value; none where it is not typed yet.
    pub value: Option<Word>,
    /// All of it.
    pub range: Range<usize>,
    is_commented_out: bool,
}

/// One word or string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// What it says.
    pub text: String,
    /// All of it, with its quotes.
    pub range: Range<usize>,
    /// What is between its quotes.
    pub inside: Range<usize>,
}

impl Node {
    /// Returns the values that have no name before them.
    pub fn arguments(&self) -> impl Iterator<Item = &NodeEntry> {
        self.entries.iter().filter(|entry| entry.property.is_none())
    }

    /// Returns the text of an argument that is written out.
    pub fn argument(&self, index: usize) -> Option<&Word> {
        let entry = self.arguments().nth(index)?;
        entry.value.as_ref().filter(|_| entry.annotation.is_none())
    }

    /// Returns a property by its name.
    pub fn property(&self, name: &str) -> Option<&NodeEntry> {
        let is_it = |entry: &&NodeEntry| {
            entry
                .property
                .as_ref()
                .is_some_and(|word| word.text == name)
        };
        self.entries.iter().find(is_it)
    }
}

impl Word {
    /// Whether it stands in quotes.
    pub fn is_quoted(&self) -> bool {
        self.range != self.inside
    }

    /// Whether a place is in it or at its edge.
    pub fn is_at(&self, offset: usize) -> bool {
        self.range.start <= offset && offset <= self.range.end
    }
}

/// Finds the nodes of a text.
pub fn outline(text: &str) -> Outline {
    let mut builder = OutlineBuilder {
        text,
        comments: vec![],
        levels: vec![Level::default()],
        annotation: None,
        is_slashdashed: false,
        is_continued: false,
    };
    for token in tokens(text) {
        builder.push_token(token);
        if builder.levels.len() > MAX_DEPTH {
            break;
        }
    }
    while builder.levels.len() > 1 {
        builder.close(text.len()..text.len());
    }
    builder.end_node(text.len());
    Outline {
        nodes: builder.levels.pop().unwrap_or_default().nodes,
        comments: builder.comments,
    }
}

struct OutlineBuilder<'t> {
    text: &'t str,
    comments: Vec<Range<usize>>,
    /// Nodes that are open, the outermost first; never empty.
    levels: Vec<Level>,
    annotation: Option<Annotation>,
    is_slashdashed: bool,
    is_continued: bool,
}

#[derive(Default)]
struct Level {
    nodes: Vec<Node>,
    current: Option<OpenNode>,
    /// Where it began.
    start: usize,
    is_commented_out: bool,
}

/// A node that has not ended.
struct OpenNode {
    node: Node,
    is_commented_out: bool,
    /// Where its last word ended.
    end: usize,
    /// Whether a `=` waits for its value.
    expects_value: bool,
    /// Whether its braces are behind it.
    has_body: bool,
}

/// An annotation that has no value behind it yet.
struct Annotation {
    range: Range<usize>,
    /// What is between the parentheses; empty where nothing is.
    word: Word,
    is_closed: bool,
}

impl OutlineBuilder<'_> {
    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the outermost level stays")
    }

    fn push_token(&mut self, token: Token) {
        let range = token.start..token.end;
        match token.kind {
            TokenKind::Space => {}
            TokenKind::LineComment
            | TokenKind::BlockComment
            | TokenKind::Broken(LexError::UnclosedComment) => {
                self.comments.push(range);
            }
            TokenKind::Newline if self.is_continued => self.is_continued = false,
            TokenKind::Newline if self.is_slashdashed => {}
            TokenKind::Newline | TokenKind::Semicolon => self.end_node(token.start),
            TokenKind::Backslash => self.is_continued = true,
            TokenKind::Slashdash => self.is_slashdashed = true,
            TokenKind::OpenBrace => self.open(range),
            TokenKind::CloseBrace => self.close(range),
            TokenKind::OpenParen => {
                let nothing = Word {
                    range: range.end..range.end,
                    inside: range.end..range.end,
                    text: String::new(),
                };
                self.annotation = Some(Annotation {
                    range,
                    word: nothing,
                    is_closed: false,
                });
            }
            TokenKind::CloseParen => {
                if let Some(annotation) = &mut self.annotation {
                    annotation.range.end = range.end;
                    annotation.is_closed = true;
                }
            }
            TokenKind::Equals => self.set_property(range),
            _ => self.add_word(parse_word(self.text, token)),
        }
    }

    fn add_word(&mut self, word: Word) {
        if let Some(annotation) = self.annotation.as_mut().filter(|it| !it.is_closed) {
            annotation.range.end = word.range.end;
            annotation.word = word;
            return;
        }
        self.add_entry(Some(word));
    }

    /// Adds a value, or the name of a node; none where only an annotation was typed.
    fn add_entry(&mut self, value: Option<Word>) {
        let annotation = self.annotation.take();
        let is_commented_out = std::mem::take(&mut self.is_slashdashed);
        let ranges = [
            annotation.as_ref().map(|it| &it.range),
            value.as_ref().map(|word| &word.range),
        ];
        let ranges = || ranges.into_iter().flatten();
        let start = ranges().next().map_or(0, |range| range.start);
        let end = ranges().last().map_or(0, |range| range.end);
        let annotation = annotation.map(|it| it.word);
        let level = self.level();
        let Some(open) = &mut level.current else {
            level.current = value.map(|name| OpenNode::new(name, is_commented_out));
            return;
        };
        open.end = end;
        if std::mem::take(&mut open.expects_value)
            && let Some(last) = open.node.entries.last_mut()
        {
            last.annotation = annotation;
            last.value = value;
            last.range.end = end;
            return;
        }
        open.node.entries.push(NodeEntry {
            property: None,
            annotation,
            value,
            range: start..end,
            is_commented_out,
        });
    }

    /// What stood before is the name of a property.
    fn set_property(&mut self, range: Range<usize>) {
        let Some(open) = &mut self.level().current else {
            return;
        };
        let Some(last) = open.node.entries.last_mut() else {
            return;
        };
        if last.property.is_some() {
            // `a= b=`: the value of the first is missing.
            let Some(name) = last.value.take() else {
                return;
            };
            last.range.end = name.range.start;
            let start = name.range.start;
            open.node.entries.push(NodeEntry {
                property: Some(name),
                range: start..range.end,
                ..NodeEntry::default()
            });
        } else {
            last.property = last.value.take();
            last.range.end = range.end;
        }
        open.end = range.end;
        open.expects_value = true;
    }

    fn open(&mut self, range: Range<usize>) {
        self.end_annotation();
        let is_commented_out = std::mem::take(&mut self.is_slashdashed);
        let level = self.level();
        let open = level.current.get_or_insert_with(|| {
            let nowhere = range.start..range.start;
            let name = Word {
                range: nowhere.clone(),
                inside: nowhere,
                ..Word::default()
            };
            OpenNode::new(name, is_commented_out)
        });
        open.end_head(range.start);
        self.levels.push(Level {
            start: range.end,
            is_commented_out,
            ..Level::default()
        });
    }

    fn close(&mut self, range: Range<usize>) {
        self.end_node(range.start);
        if self.levels.len() == 1 {
            return;
        }
        let level = self.levels.pop().expect("there are two");
        if let Some(open) = &mut self.level().current
            && !level.is_commented_out
        {
            open.node.body = Some(level.start..range.start);
            open.node.children.extend(level.nodes);
        }
    }

    fn end_annotation(&mut self) {
        if self.annotation.is_some() {
            self.add_entry(None);
        }
    }

    fn end_node(&mut self, at: usize) {
        self.end_annotation();
        self.is_slashdashed = false;
        self.is_continued = false;
        let level = self.level();
        let Some(mut open) = level.current.take() else {
            return;
        };
        open.end_head(at);
        if !open.is_commented_out {
            level.nodes.push(open.node);
        }
    }
}

impl OpenNode {
    fn new(name: Word, is_commented_out: bool) -> Self {
        let head = name.range.clone();
        Self {
            end: name.range.end,
            node: Node {
                name,
                entries: vec![],
                head,
                body: None,
                children: vec![],
            },
            is_commented_out,
            expects_value: false,
            has_body: false,
        }
    }

    fn end_head(&mut self, at: usize) {
        if !std::mem::replace(&mut self.has_body, true) {
            self.node.head.end = at.max(self.end);
            self.node.entries.retain(|entry| !entry.is_commented_out);
        }
    }
}

/// Reads a word; of a string that is not closed, what is there.
fn parse_word(text: &str, token: Token) -> Word {
    let range = token.start..token.end;
    let raw = &text[range.clone()];
    let before = raw.len() - raw.trim_start_matches('#').len();
    let is_string = raw[before..].starts_with('"');
    if !is_string {
        return Word {
            text: raw.to_owned(),
            inside: range.clone(),
            range,
        };
    }
    let is_long = raw[before..].starts_with("\"\"\"")
        && matches!(
            token.kind,
            TokenKind::Multiline
                | TokenKind::RawMultiline
                | TokenKind::Broken(LexError::UnclosedMultiline)
        );
    let quotes = if is_long { 3 } else { 1 };
    let is_closed = !matches!(
        token.kind,
        TokenKind::Broken(LexError::UnclosedString | LexError::UnclosedMultiline)
    );
    let start = range.start + before + quotes;
    let end = if is_closed {
        range.end - before - quotes
    } else {
        range.end
    };
    let inside = start..end.max(start);
    let plain = &text[inside.clone()];
    let is_plain = !is_long && (before > 0 || !plain.contains('\\'));
    let unquoted = if is_plain { None } else { unquote(raw) };
    Word {
        text: unquoted.unwrap_or_else(|| plain.to_owned()),
        range,
        inside,
    }
}

/// Returns what a string says, if the parser understands it.
fn unquote(raw: &str) -> Option<String> {
    let document = KdlDocument::parse_v2(&format!("x {raw}")).ok()?;
    let value = document.nodes().first()?.entries().first()?.value();
    value.as_string().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// Writes an outline down: nodes with their entries, and what is in them in braces.
    fn describe(nodes: &[Node]) -> String {
        let mut text = String::new();
        for node in nodes {
            text.push_str(&node.name.text);
            for entry in &node.entries {
                text.push(' ');
                if let Some(property) = &entry.property {
                    write!(text, "{}=", property.text).unwrap();
                }
                if let Some(annotation) = &entry.annotation {
                    write!(text, "({})", annotation.text).unwrap();
                }
                if let Some(value) = &entry.value {
                    write!(text, "<{}>", value.text).unwrap();
                }
            }
            if node.body.is_some() {
                write!(text, " {{{}}}", describe(&node.children)).unwrap();
            }
            text.push(';');
        }
        text
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(describe(&outline(text).nodes), expected, "{text}");
    }

    #[test]
    fn outline_of_valid_text_has_all_nodes() {
        check(
            "host \"x\" {\n  a \"b\" c=#true (var)\"d\" e=(fact)\"f\" // g\n  h; i { j \\\n 1 }\n}\n",
            "host <x> {a <b> c=<#true> (var)<d> e=(fact)<f>;h;i {j <1>;};};",
        );
        check("a #\"b\\\"# \"c\\\"d\"", "a <b\\> <c\"d>;");
        check("a \"\"\"\n  b\n  c\n  \"\"\"", "a <b\nc>;");
    }

    #[test]
    fn outline_omits_commented_out_nodes() {
        check("/-a { b; }\nc", "c;");
        check("a /-1 /-b=2 3 /-{ x; } { y; }", "a <3> {y;};");
        check("/-\na 1\nb", "b;");
    }

    #[test]
    fn outline_keeps_incomplete_nodes() {
        check("a needs=\nb", "a needs=;b;");
        check("a needs= persist=#true", "a needs= persist=<#true>;");
        check("a \"b\" needs=\"sysc\nd", "a <b> needs=<sysc>;d;");
        check("a (va\nb", "a (va);b;");
        check("a x=(var)\nb", "a x=(var);b;");
        check("host \"x\" {\n  a {\n  b", "host <x> {a {b;};};");
        check("} a { b } } c", "a {b;};c;");
        check("{ a }", " {a;};");
        check("a /etc/x", "a </etc/x>;");
    }

    #[test]
    fn node_head_ends_before_newline_or_body() {
        let text = "a 1  \nb 2 { c; }";
        let nodes = outline(text).nodes;
        assert_eq!(&text[nodes[0].head.clone()], "a 1  ");
        assert_eq!(&text[nodes[1].head.clone()], "b 2 ");
        assert_eq!(&text[nodes[1].body.clone().unwrap()], " c; ");
    }

    proptest! {
        #[test]
        fn outline_ranges_are_valid_for_any_text(text in r#"[a{}()="/\\#;* \nü-]{0,40}"#) {
            fn walk(text: &str, nodes: &[Node]) {
                for node in nodes {
                    assert!(text.get(node.head.clone()).is_some());
                    assert!(node.body.clone().is_none_or(|body| text.get(body).is_some()));
                    for entry in &node.entries {
                        assert!(text.get(entry.range.clone()).is_some(), "{entry:?}");
                        for word in [&entry.property, &entry.annotation, &entry.value] {
                            let inside = word.clone().unwrap_or_default().inside;
                            assert!(text.get(inside).is_some(), "{word:?}");
                        }
                    }
                    walk(text, &node.children);
                }
            }
            walk(&text, &outline(&text).nodes);
        }
    }
}
