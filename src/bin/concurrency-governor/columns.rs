//! Aligned columns: cells of one or more lines, the last column wrapped.

use std::fmt::Write as _;

use anstyle::Style;

use crate::plain;

/// Rows of cells, printed with every column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Columns {
    sides: Vec<Side>,
    rows: Vec<Vec<Cell>>,
}

impl Columns {
    /// Columns with their headings, each aligned to its side.
    pub(crate) fn new<const N: usize>(headings: [(&str, Side); N]) -> Self {
        let cells = headings.map(|(heading, _)| Cell::styled(heading, Style::new().dimmed()));
        Self { sides: headings.map(|(_, side)| side).to_vec(), rows: vec![cells.to_vec()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The rows as lines. Only the last column is ever wrapped: the others hold names and numbers.
    pub(crate) fn render(mut self) -> String {
        let last = self.sides.len().saturating_sub(1);
        let mut widths: Vec<usize> = (0..last).map(|column| self.width(column)).collect();
        let start =
            widths.iter().fold(0, |start: usize, width| start.saturating_add(*width).saturating_add(GAP));
        let room = PAGE.saturating_sub(start).max(LEAST_ROOM);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(last)) {
            cell.wrap(room);
        }
        widths.push(0);

        let mut text = String::new();
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.lines.len()).max().unwrap_or(0);
            for at in 0..height {
                self.render_line(row, at, &widths, &mut text);
            }
        }
        text
    }

    fn render_line(&self, row: &[Cell], at: usize, widths: &[usize], text: &mut String) {
        let mut pending = 0; // spaces that are owed: none are left at the end of a line
        for ((cell, width), side) in row.iter().zip(widths).zip(&self.sides) {
            let empty = Line::default();
            let line = cell.lines.get(at).unwrap_or(&empty);
            let padding = width.saturating_sub(line.width());
            let (before, after) = match side {
                Side::Left => (0, padding),
                Side::Right => (padding, 0),
            };
            if line.text.is_empty() {
                pending = padding.saturating_add(pending).saturating_add(GAP);
                continue;
            }
            text.extend(std::iter::repeat_n(' ', before.saturating_add(pending)));
            let _infallible = write!(text, "{}{}{:#}", line.style, line.text, line.style);
            pending = after.saturating_add(GAP);
        }
        text.push('\n');
    }

    fn width(&self, column: usize) -> usize {
        let lines = self.rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| &cell.lines);
        lines.map(Line::width).max().unwrap_or(0)
    }
}

/// The side that a column's cells are aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// What stands in one place of a table: no line, one or several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    lines: Vec<Line>,
}

impl Cell {
    /// One line of plain text.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::styled(text, Style::new())
    }

    /// One line of text in a style.
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self::default().line(text, style)
    }

    /// The same with a further line.
    pub(crate) fn line(mut self, text: impl AsRef<str>, style: Style) -> Self {
        self.lines.push(Line { text: plain::line(text.as_ref()), style });
        self
    }

    /// Breaks lines between words, as far as they have words that short, with one space between them.
    fn wrap(&mut self, room: usize) {
        let lines = std::mem::take(&mut self.lines);
        self.lines = lines.into_iter().flat_map(|line| line.wrapped(room)).collect();
    }
}

#[derive(Clone, Debug, Default)]
struct Line {
    text: String,
    style: Style,
}

impl Line {
    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn wrapped(self, room: usize) -> Vec<Self> {
        let mut lines: Vec<Self> = Vec::new();
        for word in self.text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.width().saturating_add(1).saturating_add(word.chars().count()) <= room => {
                    line.text.push(' ');
                    line.text.push_str(word);
                }
                Some(_) => lines.push(Self { text: format!("{INDENT}{word}"), style: self.style }),
                None => lines.push(Self { text: word.to_owned(), style: self.style }),
            }
        }
        lines
    }
}

/// Terminals are at least this wide, and logs are read at this width.
const PAGE: usize = 80;

/// The last column gets as much room as this even where the page is full: no table of one word a line.
const LEAST_ROOM: usize = 24;

/// Spaces between columns.
const GAP: usize = 2;

/// What a line starts with that goes on from the one above.
const INDENT: &str = "  ";
