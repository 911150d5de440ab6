//! Tables of text: rows of cells in columns. Pure.

/// What lies between two columns.
const GAP: &str = "  ";

/// To which side of its column a cell is moved.
#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// How a column is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    align: Align,
    min_width: usize,
    max_width: usize,
}

impl Column {
    /// A column as wide as its longest cell, for texts.
    pub(crate) const LEFT: Self = Self {
        align: Align::Left,
        min_width: 0,
        max_width: usize::MAX,
    };
    /// A column as wide as its longest cell, for numbers.
    pub(crate) const RIGHT: Self = Self {
        align: Align::Right,
        ..Self::LEFT
    };

    /// Returns this column with at least so many characters.
    pub(crate) const fn min_width(self, min_width: usize) -> Self {
        Self { min_width, ..self }
    }

    /// Returns this column with at most so many characters; longer cells move what follows them.
    pub(crate) const fn max_width(self, max_width: usize) -> Self {
        Self { max_width, ..self }
    }

    fn width<'c>(&self, cells: impl Iterator<Item = &'c String>) -> usize {
        let longest = cells.map(|cell| cell.chars().count()).max();
        longest.unwrap_or(0).max(self.min_width).min(self.max_width)
    }

    fn pad(&self, cell: &str, width: usize) -> String {
        match self.align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        }
    }
}

/// Lays rows out, a line for each. A row ends with its last cell that is not empty, and no blanks stand after that. Only a last column of
/// [`Column::LEFT`] may have styled cells, since styles count as characters.
pub(crate) fn table<const N: usize>(
    indent: &str,
    columns: [Column; N],
    rows: &[[String; N]],
) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|at| columns[at].width(rows.iter().map(|row| &row[at])));
    let mut text = String::new();
    for row in rows {
        let last = row.iter().rposition(|cell| !cell.is_empty());
        let cells: Vec<_> = (0..last.map_or(0, |last| last + 1))
            .map(|at| columns[at].pad(&row[at], widths[at]))
            .collect();
        text += format!("{indent}{}", cells.join(GAP)).trim_end_matches(' ');
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(columns: [Column; N], rows: &[[&str; N]], expected: &str) {
        let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned)).collect();
        assert_eq!(table(" ", columns, &rows), expected);
    }

    #[test]
    fn table_aligns_cells_by_characters() {
        check(
            [Column::LEFT, Column::RIGHT, Column::LEFT],
            &[["één", "1", "x"], ["two", "22", "longer"], ["", "3", "y"]],
            " één   1  x\n two  22  longer\n       3  y\n",
        );
    }

    #[test]
    fn table_keeps_minimum_and_maximum_width() {
        check(
            [
                Column::LEFT.max_width(3),
                Column::RIGHT.min_width(4),
                Column::LEFT,
            ],
            &[["a", "1", "x"], ["abcdef", "2", "y"]],
            " a       1  x\n abcdef     2  y\n",
        );
    }

    #[test]
    fn table_ends_rows_without_blanks() {
        check(
            [Column::LEFT, Column::LEFT, Column::LEFT],
            &[
                ["a", "longer", "x"],
                ["abc", "b", ""],
                ["c", "", ""],
                ["", "", ""],
            ],
            " a    longer  x\n abc  b\n c\n\n",
        );
        check([Column::LEFT], &[], "");
    }
}
