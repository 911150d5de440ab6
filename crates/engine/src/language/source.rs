//! A source of a spec, and a span in it.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// A range of bytes in a source.
#[derive(Clone, Debug)]
pub struct Span {
    /// The source.
    pub source: Arc<Source>,
    /// Offset of the first byte.
    pub offset: usize,
    /// Number of bytes.
    pub length: usize,
}

/// What a file is to its spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// The one that was named: it has the `host`.
    Main,
    /// One that others include.
    Included,
}

/// One file of a spec.
#[derive(Debug)]
pub struct Source {
    /// The path as the user gave it.
    pub path: Arc<Path>,
    /// The whole text.
    pub text: String,
    /// The `include` that brought it, if one did.
    pub included_at: Option<Box<Span>>,
    /// Whether it is a file, and not a word of the command line, an environment variable or a fact.
    pub is_file: bool,
    /// Where its lines begin, once somebody has asked for one.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// Makes a source that nothing includes.
    pub fn new(path: impl AsRef<Path>, text: impl Into<String>) -> Self {
        Self {
            path: path.as_ref().into(),
            text: text.into(),
            included_at: None,
            is_file: true,
            lines: OnceLock::new(),
        }
    }

    /// Makes a source of a value that stands in no file: `name=value`.
    pub(crate) fn of_value(of: &'static str, text: impl Into<String>) -> Self {
        Self {
            is_file: false,
            ..Self::new(of, text)
        }
    }

    /// Returns where the lines begin. A spec has many resources, and each asks for its line.
    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let ends = self.text.match_indices('\n');
            [0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect()
        })
    }
}

impl Span {
    /// Makes the span of a range of bytes of `source`.
    pub fn new(source: &Arc<Source>, range: std::ops::Range<usize>) -> Self {
        Self {
            source: source.clone(),
            offset: range.start,
            length: range.end - range.start,
        }
    }

    /// Whether it is the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.offset, self.length) == (other.offset, other.length)
    }

    /// Whether it is a part of the other.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let end = |span: &Self| span.offset + span.length;
        Arc::ptr_eq(&self.source, &other.source)
            && other.offset <= self.offset
            && end(self) <= end(other)
    }

    /// Returns the line of the first byte, counted from 1.
    pub fn line(&self) -> usize {
        let lines = self.source.lines();
        lines.partition_point(|&begin| begin <= self.offset)
    }

    /// Returns the column of the first byte in characters, counted from 1.
    pub fn column(&self) -> usize {
        let before = &self.source.text[..self.offset.min(self.source.text.len())];
        before.rsplit('\n').next().unwrap_or("").chars().count() + 1
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.display().to_string(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_line_counts_newlines_before_its_offset() {
        let check = |text: &str, offset, line| {
            let source = Arc::new(Source::new("host.kdl", text));
            assert_eq!(Span::new(&source, offset..offset).line(), line, "{text:?}");
        };
        check("", 0, 1);
        check("a\n\nb", 0, 1);
        check("a\n\nb", 1, 1);
        check("a\n\nb", 2, 2);
        check("a\n\nb", 3, 3);
        check("a\n", 9, 2);
    }
}
