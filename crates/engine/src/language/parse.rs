//! Parses source text into a KDL document. What could exhaust the stack of the parser is refused before it is called.

use std::{borrow::Cow, ops::Range, sync::Arc, thread};

use kdl::{KdlDiagnostic, KdlDocument, KdlEntry, KdlError, KdlIdentifier, KdlNode};
use miette::SourceSpan;

use crate::language::{
    abridge::ShortenedText,
    error::{SpecError, SpecErrors},
    grammar,
    lexer::{TokenKind, is_newline, tokens},
    source::{Source, Span},
};

/// Stack of the thread that parses, in bytes: 128 levels take some 3 MB in a build without optimisation, the rest is
/// for mistakes that only the parser knows. The pages are used only when they are needed.
const STACK_BYTES: usize = 64 << 20;

/// Texts above this many bytes are not tried as KDL 1: nobody writes such a spec by hand.
const MAX_KDL_1_BYTES: usize = 1 << 20;

/// Parses a source; all mistakes of grammar at once.
pub(crate) fn parse(source: &Arc<Source>) -> Result<KdlDocument, SpecErrors> {
    parse_with(source, |text| {
        with_large_stack(|| KdlDocument::parse_v2(text))
    })
}

/// Parses a part of a source whose grammar was checked, where the stack is large enough; `None` if the parser finds a mistake in it.
pub(crate) fn parse_range(source: &Arc<Source>, part: Range<usize>) -> Option<Vec<KdlNode>> {
    let text = blank_comments(&source.text[part.clone()]);
    let shortened = ShortenedText::new(&text);
    let mut document = KdlDocument::parse_v2(&shortened.text).ok()?;
    let mut nodes = std::mem::take(document.nodes_mut());
    let whole = SourceRestorer {
        shortened,
        start: part.start,
    };
    for node in &mut nodes {
        whole.restore_node(node);
    }
    Some(nodes)
}

/// Puts back into nodes what was left out of their text, and moves them to where they stand in the source.
struct SourceRestorer<'a> {
    shortened: ShortenedText<'a>,
    /// Where the text begins in the source.
    start: usize,
}

impl SourceRestorer<'_> {
    fn restore_node(&self, node: &mut KdlNode) {
        node.set_span(self.source_span(node.span()));
        self.restore_identifier(node.name_mut());
        if let Some(ty) = node.ty_mut() {
            self.restore_identifier(ty);
        }
        for entry in node.entries_mut() {
            self.restore_entry(entry);
        }
        if let Some(children) = node.children_mut() {
            children.set_span(self.source_span(children.span()));
            for child in children.nodes_mut() {
                self.restore_node(child);
            }
        }
    }

    fn restore_entry(&self, entry: &mut KdlEntry) {
        let restored = entry
            .value()
            .as_string()
            .and_then(|text| self.restored_text(text, entry.span()));
        if let Some(text) = restored {
            entry.set_value(text);
        }
        entry.set_span(self.source_span(entry.span()));
        if let Some(name) = entry.name_mut() {
            self.restore_identifier(name);
        }
        if let Some(ty) = entry.ty_mut() {
            self.restore_identifier(ty);
        }
    }

    fn restore_identifier(&self, word: &mut KdlIdentifier) {
        if let Some(text) = self.restored_text(word.value(), word.span()) {
            word.set_value(text);
        }
        word.set_span(self.source_span(word.span()));
    }

    fn restored_text(&self, text: &str, span: SourceSpan) -> Option<String> {
        self.shortened.restore(text, span.offset() + span.len())
    }

    fn source_span(&self, span: SourceSpan) -> SourceSpan {
        let start = self.shortened.to_source_offset(span.offset());
        let end = self.shortened.to_source_offset(span.offset() + span.len());
        SourceSpan::from((self.start + start, end - start))
    }
}

/// Makes threads that parse, one for each core, for what stands `at` a place of a spec.
pub(crate) fn parser_pool(at: impl Fn() -> Span) -> Result<rayon::ThreadPool, SpecErrors> {
    let threads = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES);
    let threads = threads.thread_name(|_| "parse".to_owned()).build();
    threads.map_err(|error| {
        let fact = format!("cannot start the threads that read files: {error}");
        SpecErrors(vec![SpecError::new("spec::include", fact, at())])
    })
}

fn parse_with(
    source: &Arc<Source>,
    parse: impl FnOnce(&str) -> Result<KdlDocument, KdlError>,
) -> Result<KdlDocument, SpecErrors> {
    let mut errors = grammar::check(source);
    if errors.is_empty() {
        match parse(&blank_comments(&source.text)) {
            Ok(document) => return Ok(document),
            Err(error) => errors = syntax_errors(source, &error),
        }
    }
    if is_kdl_1(&source.text) {
        errors = vec![kdl_1_error(errors)];
    }
    Err(SpecErrors(errors))
}

/// Replaces comments by as many spaces: the parser goes deeper on the stack for each `*` and `/` in a comment.
fn blank_comments(text: &str) -> Cow<'_, str> {
    // Only these two begin a comment.
    if !text.contains("//") && !text.contains("/*") {
        return text.into();
    }
    let mut blank = String::with_capacity(text.len());
    let mut copied = 0;
    for token in tokens(text) {
        if matches!(token.kind, TokenKind::LineComment | TokenKind::BlockComment) {
            blank.push_str(&text[copied..token.start]);
            blank.extend(std::iter::repeat_n(' ', token.end - token.start));
            copied = token.end;
        }
    }
    blank.push_str(&text[copied..]);
    blank.into()
}

/// Works where the stack is large enough for the parser.
pub(crate) fn with_large_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("parse".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, &work);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

fn syntax_errors(source: &Arc<Source>, error: &KdlError) -> Vec<SpecError> {
    let mut errors: Vec<SpecError> = vec![];
    for diagnostic in &error.diagnostics {
        let span = narrow_span(source, diagnostic);
        if errors
            .iter()
            .any(|known| known.labels[0].0.offset == span.offset)
        {
            continue;
        }
        let message = diagnostic.message.as_deref().unwrap_or("this is not KDL 2");
        errors.push(SpecError {
            message: sentence(message),
            code: "spec::syntax",
            help: Some(diagnostic.help.clone().unwrap_or_else(|| {
                "see https://kdl.dev for the language; put texts in quotes".to_owned()
            })),
            labels: vec![(span, diagnostic.label.clone().unwrap_or_default())],
        });
    }
    errors
}

/// Cuts the place of a mistake down to the first line that has something on it.
fn narrow_span(source: &Arc<Source>, diagnostic: &KdlDiagnostic) -> Span {
    let text = &source.text;
    let mut start = diagnostic.span.offset().min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = (start + diagnostic.span.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let place = &text[start..end];
    let trimmed = place.trim_start();
    start += place.len() - trimmed.len();
    let length = trimmed.find(is_newline).unwrap_or(trimmed.len());
    Span::new(source, start..start + trimmed[..length].trim_end().len())
}

fn sentence(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn is_kdl_1(text: &str) -> bool {
    text.len() <= MAX_KDL_1_BYTES
        && max_brace_depth(text) <= grammar::MAX_DEPTH
        && with_large_stack(|| KdlDocument::parse_v1(&blank_comments(text)).is_ok())
}

/// Returns the most braces that are open at once, whatever they stand in.
fn max_brace_depth(text: &str) -> usize {
    let mut open = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

fn kdl_1_error(errors: Vec<SpecError>) -> SpecError {
    SpecError {
        message: "this is KDL 1; a spec is written in KDL 2".to_owned(),
        code: "spec::kdl-1",
        help: Some(
            "write `#true`, `#false` and `#null` for `true`, `false` and `null`, `#\"…\"#` for `r\"…\"`, \
             and put a text of several lines between `\"\"\"` and `\"\"\"`"
                .to_owned(),
        ),
        labels: errors
            .into_iter()
            .map(|error| {
                let (span, _) = error.labels.into_iter().next().expect("each mistake of grammar has a place");
                (span, error.message)
            })
            .collect(),
    }
}
