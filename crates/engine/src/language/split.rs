//! A text cut into its nodes, so that it is parsed a few nodes at a time: a document takes many times the memory of its text,
//! and each is dropped before the next is made.

use std::ops::Range;

use crate::language::lexer::{TokenKind, tokens};

/// Texts up to this many bytes are parsed together: few enough to take no memory, enough to be worth a call of the parser.
const BATCH_BYTES: usize = 8 << 10;

/// Where one node stands, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSpan {
    /// All of it, from its first word on.
    pub(crate) range: Range<usize>,
    /// What stands between its braces, if nothing follows them.
    pub(crate) children: Option<Range<usize>>,
    /// Its name, if that is a plain word.
    pub(crate) name: Option<Range<usize>>,
}

/// Cuts a part of a text whose grammar was checked into nodes.
pub(crate) fn split_nodes(text: &str, part: Range<usize>) -> Vec<NodeSpan> {
    let mut cuts = vec![];
    let mut node = PendingNode::default();
    for token in tokens(&text[part.clone()]) {
        let (start, end) = (part.start + token.start, part.start + token.end);
        match token.kind {
            TokenKind::Newline if node.depth == 0 => {
                if node.is_continued {
                    node.is_continued = false;
                } else if !node.is_slashdashed {
                    cuts.extend(std::mem::take(&mut node).finish());
                }
                continue;
            }
            TokenKind::Semicolon if node.depth == 0 => {
                cuts.extend(std::mem::take(&mut node).finish());
                continue;
            }
            TokenKind::Space
            | TokenKind::LineComment
            | TokenKind::BlockComment
            | TokenKind::Newline => {
                continue;
            }
            _ => {}
        }
        let is_first = node.start.is_none();
        node.start.get_or_insert(start);
        node.end = end;
        match token.kind {
            TokenKind::Backslash if node.depth == 0 => node.is_continued = true,
            TokenKind::Slashdash if node.depth == 0 => node.is_slashdashed = true,
            TokenKind::OpenBrace => {
                if node.depth == 0 && !node.is_slashdashed {
                    node.open = Some(end);
                }
                node.is_slashdashed = false;
                node.depth += 1;
            }
            TokenKind::CloseBrace => {
                node.depth = node.depth.saturating_sub(1);
                if node.depth == 0 && node.close.is_none() && node.open.is_some() {
                    node.close = Some(start..end);
                }
            }
            lexeme => {
                if node.depth == 0 {
                    node.is_slashdashed = false;
                }
                if is_first && lexeme == TokenKind::Word {
                    node.name = Some(start..end);
                }
            }
        }
    }
    cuts.extend(node.finish());
    cuts
}

#[derive(Default)]
struct PendingNode {
    start: Option<usize>,
    end: usize,
    depth: usize,
    is_continued: bool,
    is_slashdashed: bool,
    /// Where the children begin.
    open: Option<usize>,
    /// The brace that ends them.
    close: Option<Range<usize>>,
    name: Option<Range<usize>>,
}

impl PendingNode {
    fn finish(self) -> Option<NodeSpan> {
        let children = match (self.open, self.close) {
            (Some(open), Some(close)) if close.end == self.end => Some(open..close.start),
            _ => None,
        };
        Some(NodeSpan {
            range: self.start?..self.end,
            children,
            name: self.name,
        })
    }
}

/// Joins neighbours that are small, in their order.
pub(crate) fn batch(cuts: &[NodeSpan]) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = vec![];
    for NodeSpan { range, .. } in cuts {
        match joined.last_mut() {
            Some(last) if range.end - last.start <= BATCH_BYTES => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kdl::{KdlDocument, KdlIdentifier, KdlNode};
    use miette::SourceSpan;
    use proptest::prelude::*;

    use super::*;
    use crate::language::{
        parse::{parse, parse_range},
        source::Source,
    };

    fn check(text: &str, expected: &[&str]) {
        let found = split_nodes(text, 0..text.len());
        let found: Vec<_> = found.iter().map(|cut| &text[cut.range.clone()]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn split_nodes_cuts_after_each_node() {
        check("", &[]);
        check("\n// a\n;\n", &[]);
        check("a 1; b 2\nc", &["a 1", "b 2", "c"]);
        check(
            "a {\n    b\n    c; d\n}\ne",
            &["a {\n    b\n    c; d\n}", "e"],
        );
        check("a \\ // why\n  1\nb", &["a \\ // why\n  1", "b"]);
        check("/-a 1\nb", &["/-a 1", "b"]);
        check("/-\na 1\nb", &["/-\na 1", "b"]);
        check("a /-\n 1 2\nb", &["a /-\n 1 2", "b"]);
        check("a /-{ x; } { y; }; b", &["a /-{ x; } { y; }", "b"]);
        check(
            "a \"\"\"\n  b\n  ; c\n  \"\"\"\nd /* \n */ 1\ne",
            &["a \"\"\"\n  b\n  ; c\n  \"\"\"", "d /* \n */ 1", "e"],
        );
        check("(x)a {}\n\u{2028}b", &["(x)a {}", "b"]);
    }

    #[test]
    fn split_nodes_finds_names_and_children() {
        let text = "host \"x\" { a; b }; /-host {}; \"host\" {}; host /-{ a; } { b; } /-{ c; }";
        let cuts = split_nodes(text, 0..text.len());
        let of = |range: &Option<Range<usize>>| range.clone().map(|range| &text[range]);
        assert_eq!(of(&cuts[0].children), Some(" a; b "));
        assert_eq!(of(&cuts[0].name), Some("host"));
        assert_eq!(of(&cuts[1].name), None);
        assert_eq!(of(&cuts[2].name), None);
        assert_eq!(of(&cuts[3].children), None, "something follows");
    }

    /// Texts of pieces of the language, so that many of them can be parsed.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = [
            "a",
            "b 1",
            " ",
            "\n",
            "; ",
            "{\n",
            "}\n",
            " \\\n",
            "/-",
            "// c\n",
            "/* d */",
            "x=1",
            "\"q;{\"",
            "(t)",
            "#true",
            "\"\"\"\n  m\n  \"\"\"",
            "host \"x\" {\n",
            "\u{2028}",
            "ü",
            "\"a long text, \\\"quoted\\\" and long enough\"",
            "\"a name that is long\"=\"\\t and a long value of it\"",
            "\"\\u{e000} and a long value of it\"",
            "(\"a type that is long\")",
            "\"\"\"\n   a long line of many words \n\n  another line, ü, and long words\n  \"\"\"",
            "\"\u{e000}, and a text that is long\"",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..30)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn split_nodes_parse_like_the_whole_text(text in texts()) {
            let source = Arc::new(Source::new("x.kdl", text.clone()));
            let Ok(whole) = parse(&source) else { return Ok(()) };
            let cuts = split_nodes(&text, 0..text.len());
            for ranges in [batch(&cuts), cuts.iter().map(|cut| cut.range.clone()).collect()] {
                let mut nodes = vec![];
                for range in ranges {
                    nodes.extend(parse_range(&source, range).expect("the whole was parsed"));
                }
                prop_assert_eq!(nodes.len(), whole.nodes().len());
                for (piece, node) in nodes.iter().zip(whole.nodes()) {
                    prop_assert_eq!(describe(piece), describe(node));
                }
            }
        }
    }

    /// Returns what there is to a node, and where, without what only the layout is.
    fn describe(node: &KdlNode) -> String {
        let at = |span: SourceSpan| format!("{}+{}", span.offset(), span.len());
        let mut text = format!(
            "{:?}{}@{}",
            node.ty().map(KdlIdentifier::value),
            node.name().value(),
            at(node.name().span())
        );
        for entry in node.entries() {
            let name = entry.name().map(KdlIdentifier::value);
            let ty = entry.ty().map(KdlIdentifier::value);
            let value = format!(" {name:?}{ty:?}{}@{}", entry.value(), at(entry.span()));
            text.push_str(&value);
        }
        for child in node.children().map_or(&[][..], KdlDocument::nodes) {
            text += &describe(child);
        }
        text
    }
}
