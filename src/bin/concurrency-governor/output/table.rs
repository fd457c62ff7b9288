//! Tables with aligned columns. A cell has any number of lines, and the last column is wrapped.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anstyle::Style;

use super::escape::single_line;

/// A table in which each column is as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct TextTable {
    alignments: Vec<Alignment>,
    rows: Vec<Vec<TableCell>>,
}

impl TextTable {
    /// Creates a table with the headings of its columns.
    pub(crate) fn new(columns: &[(&str, Alignment)]) -> Self {
        let heading = |(heading, _): &(&str, _)| TableCell::styled(heading, Style::new().dimmed());
        Self {
            alignments: columns.iter().map(|(_, alignment)| *alignment).collect(),
            rows: vec![columns.iter().map(heading).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = TableCell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns `true` if there is a row below the headings.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }

    /// Renders the rows. Wraps only the last column, because the others hold names and numbers.
    pub(crate) fn render(mut self) -> String {
        // The last column gets the rest of the page.
        let last = self.alignments.len().saturating_sub(1);
        let mut widths: Vec<usize> = (0..last).map(|column| self.column_width(column)).collect();
        let start =
            widths.iter().fold(0, |start: usize, width| start.saturating_add(*width).saturating_add(GAP));
        let room = page_width().saturating_sub(start).max(MIN_LAST_COLUMN);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(last)) {
            cell.wrap(room);
        }
        // Nothing follows the last column, so only right-aligned text needs padding there.
        widths.push(match self.alignments.last() {
            Some(Alignment::Right) => self.column_width(last),
            _ => 0,
        });

        let mut text = String::new();
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.lines.len()).max().unwrap_or(0);
            for line in 0..height {
                self.render_line(row, line, &widths, &mut text);
            }
        }
        text
    }

    /// Renders one line of all cells of a row.
    fn render_line(&self, row: &[TableCell], line: usize, widths: &[usize], text: &mut String) {
        // Spaces are written only before the next text, so that no line ends with spaces.
        let mut pending = 0;
        for ((cell, width), alignment) in row.iter().zip(widths).zip(&self.alignments) {
            let empty = StyledLine::default();
            let line = cell.lines.get(line).unwrap_or(&empty);
            let padding = width.saturating_sub(line.width());
            let (before, after) = match alignment {
                Alignment::Left => (0, padding),
                Alignment::Right => (padding, 0),
            };
            if line.text.is_empty() {
                pending = padding.saturating_add(pending).saturating_add(GAP);
                continue;
            }
            text.extend(std::iter::repeat_n(' ', before.saturating_add(pending)));
            // Writing to a `String` cannot fail.
            let _: std::fmt::Result = write!(text, "{}{}{:#}", line.style, line.text, line.style);
            pending = after.saturating_add(GAP);
        }
        text.push('\n');
    }

    fn column_width(&self, column: usize) -> usize {
        let lines = self.rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| &cell.lines);
        lines.map(StyledLine::width).max().unwrap_or(0)
    }
}

/// The side on which the text of a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alignment {
    Left,
    Right,
}

/// The content of one cell: any number of lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableCell {
    lines: Vec<StyledLine>,
}

impl TableCell {
    /// Creates a cell with one unstyled line.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::styled(text, Style::new())
    }

    /// Creates a cell with one styled line.
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self::default().line(text, style)
    }

    /// Returns the cell with one more line.
    pub(crate) fn line(mut self, text: impl AsRef<str>, style: Style) -> Self {
        self.lines.push(StyledLine { text: single_line(text.as_ref()), style });
        self
    }

    /// Breaks the lines between words. A word that is wider than `room` stays whole.
    fn wrap(&mut self, room: usize) {
        let lines = std::mem::take(&mut self.lines);
        self.lines = lines.into_iter().flat_map(|line| line.wrapped(room)).collect();
    }
}

#[derive(Clone, Debug, Default)]
struct StyledLine {
    text: String,
    style: Style,
}

impl StyledLine {
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
                Some(_) => lines.push(Self { text: format!("{CONTINUATION}{word}"), style: self.style }),
                None => lines.push(Self { text: word.to_owned(), style: self.style }),
            }
        }
        lines
    }
}

/// Returns the width of the terminal, or the default for a pipe or a file.
fn page_width() -> usize {
    let is_terminal = std::io::stdout().is_terminal();
    let size = if is_terminal { crossterm::terminal::size().ok() } else { None };
    size.map(|(columns, _)| columns.into()).filter(|columns| *columns > 0).unwrap_or(DEFAULT_PAGE_WIDTH)
}

/// The width of most terminals and logs.
const DEFAULT_PAGE_WIDTH: usize = 80;

/// The least room for the last column, even if the table then exceeds the page: otherwise each line might hold one word.
const MIN_LAST_COLUMN: usize = 24;

/// The number of spaces between two columns.
const GAP: usize = 2;

/// The start of a line that continues the line above.
const CONTINUATION: &str = "  ";
