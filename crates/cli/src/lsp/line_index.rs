//! Positions in a text as editors count them: by lines, and within a line in UTF-16 unless they offer UTF-8.

use std::ops::Range;

use line_index::{LineCol, LineIndex, TextSize, WideEncoding, WideLineCol};
use lsp_types::Position;

/// How an editor counts within a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// In bytes.
    Utf8,
    /// In code units of UTF-16, what every editor knows.
    Utf16,
}

/// The lines of a text.
pub(crate) struct PositionMap<'t> {
    text: &'t str,
    index: LineIndex,
    encoding: Encoding,
}

impl<'t> PositionMap<'t> {
    pub(crate) fn new(text: &'t str, encoding: Encoding) -> Self {
        Self {
            text,
            index: LineIndex::new(text),
            encoding,
        }
    }

    /// Returns where an editor sees a byte.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let at = self.index.line_col(text_size(offset));
        let character = match self.encoding {
            Encoding::Utf8 => at.col,
            Encoding::Utf16 => self
                .index
                .to_wide(WideEncoding::Utf16, at)
                .map_or(at.col, |at| at.col),
        };
        Position::new(at.line, character)
    }

    /// Returns where an editor sees a range of bytes.
    pub(crate) fn range(&self, range: Range<usize>) -> lsp_types::Range {
        lsp_types::Range::new(self.position(range.start), self.position(range.end))
    }

    /// Returns the byte that an editor means; behind the end of a line that end.
    pub(crate) fn offset(&self, at: Position) -> usize {
        let Some(line) = self.index.line(at.line) else {
            return self.text.len();
        };
        let (start, end) = (usize::from(line.start()), usize::from(line.end()));
        let end = start + self.text[start..end].trim_end_matches(['\r', '\n']).len();
        let (line, col) = (at.line, at.character);
        let found = match self.encoding {
            Encoding::Utf8 => Some(LineCol { line, col }),
            Encoding::Utf16 => {
                let wide = WideLineCol { line, col };
                self.index.to_utf8(WideEncoding::Utf16, wide)
            }
        };
        let offset = found.and_then(|at| self.index.offset(at));
        self.text
            .floor_char_boundary(offset.map_or(end, usize::from).min(end))
    }
}

/// A source has at most 4 MiB, but an editor may hold more.
fn text_size(offset: usize) -> TextSize {
    TextSize::new(u32::try_from(offset).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ab\r\nü😀x\n";

    fn check(encoding: Encoding, offset: usize, line: u32, character: u32) {
        let lines = PositionMap::new(TEXT, encoding);
        let position = Position::new(line, character);
        assert_eq!(lines.position(offset), position);
        assert_eq!(lines.offset(position), offset);
    }

    #[test]
    fn line_index_converts_positions_in_each_encoding() {
        check(Encoding::Utf16, 0, 0, 0);
        check(Encoding::Utf16, 4, 1, 0);
        check(Encoding::Utf16, 6, 1, 1);
        check(Encoding::Utf16, 10, 1, 3);
        check(Encoding::Utf16, 11, 1, 4);
        check(Encoding::Utf16, 12, 2, 0);
        check(Encoding::Utf8, 6, 1, 2);
        check(Encoding::Utf8, 10, 1, 6);
    }

    #[test]
    fn line_index_clamps_positions_out_of_range() {
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            let lines = PositionMap::new(TEXT, encoding);
            assert_eq!(lines.offset(Position::new(0, 99)), 2);
            assert_eq!(lines.offset(Position::new(99, 0)), TEXT.len());
            assert_eq!(lines.offset(Position::new(u32::MAX, u32::MAX)), TEXT.len());
        }
        let lines = PositionMap::new(TEXT, Encoding::Utf16);
        assert_eq!(
            lines.offset(Position::new(1, 2)),
            6,
            "in the middle of a pair"
        );
    }
}
