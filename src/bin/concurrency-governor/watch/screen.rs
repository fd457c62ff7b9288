//! The screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::history::{History, Row};
use super::lines;

/// How a screen sets things apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Styles {
    past: Style,
    new: Style,
}

impl Styles {
    pub(super) const COLOURED: Self =
        Self { past: Style::new().fg(Color::Cyan), new: Style::new().fg(Color::Black).bg(Color::Yellow) };
    pub(super) const PLAIN: Self =
        Self { past: Style::new(), new: Style::new().add_modifier(Modifier::REVERSED) };
}

/// Draws everything, in whatever room there is: what does not fit is cut, from the oldest change up.
pub(super) fn draw(frame: &mut Frame<'_>, history: &History, every: Duration, styles: Styles) {
    let height = |rows: &[Row]| u16::try_from(rows.len().saturating_add(2)).unwrap_or(u16::MAX);
    let [head, readings, gates, changes] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(height(&history.readings)),
        Constraint::Length(height(&history.gates)),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    self::head(frame, head, history, every);
    rows(frame, readings, "Readings", &history.readings, history.looks, styles);
    rows(frame, gates, "Gates", &history.gates, history.looks, styles);
    self::changes(frame, changes, history);
}

/// How to get out of it is never what is cut.
fn head(frame: &mut Frame<'_>, area: Rect, history: &History, every: Duration) {
    let status =
        format!("  {} UTC, every {}  q quits", lines::time(history.now), humantime::format_duration(every));
    let width = u16::try_from(status.chars().count()).unwrap_or(u16::MAX);
    let [left, right] =
        Layout::horizontal([Constraint::Max(title_width(history)), Constraint::Min(width)]).areas(area);
    frame.render_widget(Paragraph::new(Line::styled(history.title.clone(), BOLD)), left);
    frame.render_widget(Paragraph::new(Line::styled(status, QUIET)), right);
}

fn title_width(history: &History) -> u16 {
    u16::try_from(history.title.chars().count()).unwrap_or(u16::MAX)
}

/// A title, and a line for each number: its name, what it is, its past, and what goes with it.
fn rows(frame: &mut Frame<'_>, area: Rect, title: &str, rows: &[Row], look: u64, styles: Styles) {
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0);
    let (names, values) = (width(|row| &row.name), width(|row| &row.value));
    let room = usize::from(area.width);
    // The past gets a third of what is left, and at least enough to see a step.
    let left = room.saturating_sub(names).saturating_sub(values).saturating_sub(3 * GAP);
    let past = (left / 3).clamp(LEAST_PAST.min(left), MOST_PAST);
    let beside = left.saturating_sub(past);
    let mut text = vec![Line::styled(title.to_owned(), BOLD.add_modifier(Modifier::UNDERLINED))];
    for row in rows {
        let style = if is_new(row, look) { styles.new } else { Style::new() };
        text.push(Line::from(vec![
            Span::raw(format!("{:<names$}  ", row.name)),
            Span::styled(format!("{:>values$}", row.value), style),
            Span::raw("  "),
            Span::styled(sparkline(row, past), styles.past),
            Span::raw("  "),
            Span::styled(shortened(&row.beside, beside), QUIET),
        ]));
    }
    frame.render_widget(Paragraph::new(text), area);
}

fn changes(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let mut text = vec![Line::styled("Changes", BOLD.add_modifier(Modifier::UNDERLINED))];
    if history.changes.is_empty() {
        text.push(Line::styled("none yet", QUIET));
    }
    let width = usize::from(area.width);
    let lines = history.changes.iter().rev().map(lines::line);
    text.extend(lines.map(|line| Line::raw(shortened(&line, width))));
    frame.render_widget(Paragraph::new(text), area);
}

/// The text, or as much of it as there is room for, and a sign that there is more: half a number would be another one.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept = text.chars().take(room.saturating_sub(1));
    kept.chain(std::iter::once('…').take(room)).collect()
}

/// Whether a number changed a moment ago.
fn is_new(row: &Row, look: u64) -> bool {
    row.changed.is_some_and(|changed| look.saturating_sub(changed) < LOOKS_NEW)
}

/// The past of a number, the newest on the right: as high as it is between the least and the most that was. What never
/// moved is a line in the middle, and what was not known is left blank.
fn sparkline(row: &Row, width: usize) -> String {
    let skip = row.past.len().saturating_sub(width);
    let shown = row.past.iter().skip(skip);
    let known = || shown.clone().flatten().copied();
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let level = |number: u64| match most.saturating_sub(least) {
        0 => FLAT,
        span => {
            let height = u128::from(number.saturating_sub(least)).saturating_mul(LAST_BAR);
            let bar = height.checked_div(span.into()).and_then(|bar| usize::try_from(bar).ok());
            bar.and_then(|bar| BARS.get(bar).copied()).unwrap_or(' ')
        }
    };
    let bars: String = shown.clone().map(|number| number.map_or(' ', level)).collect();
    format!("{bars:>width$}")
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LAST_BAR: u128 = 7;
const FLAT: char = '▄';

/// A change is highlighted for so many looks.
const LOOKS_NEW: u64 = 5;

/// Between two columns.
const GAP: usize = 2;
const LEAST_PAST: usize = 10;
const MOST_PAST: usize = 60;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;

    use super::*;
    use crate::watch::history::Change;

    fn row(name: &str, value: &str, past: &[Option<u64>]) -> Row {
        let beside =
            "what goes with it, which may be long enough to be cut at the end of the line".to_owned();
        Row {
            name: name.to_owned(),
            value: value.to_owned(),
            beside,
            past: past.iter().copied().collect(),
            changed: None,
            is_restless: false,
        }
    }

    fn history() -> History {
        let many: Vec<Option<u64>> = (0..200).map(|n| Some(n % 7)).collect();
        let names = ["cpu", "fd", "memory", "tasks", "pressure.cpu", "pressure.io", "pressure.memory"];
        let mut readings: Vec<Row> = names.iter().map(|name| row(name, "31.25 GiB", &many)).collect();
        readings[0].changed = Some(198);
        let gates = ["blocking", "io", "pool"]
            .iter()
            .map(|name| row(name, "128", &[Some(1), None, Some(2)]))
            .collect();
        let changes: VecDeque<Change> =
            (0..50).map(|at| Change { at, what: format!("cpu: {at} -> 1") }).collect();
        History::for_test(readings, gates, changes, 200)
    }

    fn drawn(width: u16, height: u16) -> ratatui::buffer::Buffer {
        drawn_in(Styles::COLOURED, width, height)
    }

    fn drawn_in(styles: Styles, width: u16, height: u16) -> ratatui::buffer::Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let history = history();
        terminal.draw(|frame| draw(frame, &history, Duration::from_secs(1), styles)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &ratatui::buffer::Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        buffer.content().chunks(width).map(|line| line.iter().map(Cell::symbol).collect()).collect()
    }

    /// On 80 columns and 24 lines there is room for every reading, every gate and the newest changes.
    #[test]
    fn everything_fits_on_80_by_24() {
        let lines = text(&drawn(80, 24));
        for name in ["Readings", "cpu", "pressure.memory", "Gates", "blocking", "io", "pool", "Changes"] {
            assert!(lines.iter().any(|line| line.starts_with(name)), "{name}: {lines:#?}");
        }
        assert!(lines[0].contains("q quits"), "{lines:#?}");
        let newest = lines.iter().position(|line| line.starts_with("Changes")).unwrap() + 1;
        assert!(lines[newest].starts_with("00:00:49 cpu: 49 -> 1"), "{lines:#?}");
        let with_past = lines.iter().filter(|line| line.contains('█')).count();
        assert_eq!(with_past, 10, "each number has its past: {lines:#?}");
    }

    /// What changed a moment ago is highlighted, and nothing else is; without colours, too.
    #[test]
    fn new_numbers_are_highlighted() {
        let coloured: fn(&Cell) -> bool = |cell| cell.bg == Color::Yellow;
        let plain: fn(&Cell) -> bool = |cell| cell.modifier.contains(Modifier::REVERSED);
        for (styles, is_highlighted) in [(Styles::COLOURED, coloured), (Styles::PLAIN, plain)] {
            let buffer = drawn_in(styles, 80, 24);
            let highlighted: Vec<u16> = (0..24)
                .filter(|line| (0..80).any(|column| is_highlighted(&buffer[(column, *line)])))
                .collect();
            assert_eq!(highlighted.len(), 1);
            assert!(text(&buffer)[usize::from(highlighted[0])].starts_with("cpu "));
        }
        let plain = drawn_in(Styles::PLAIN, 80, 24);
        assert!(plain.content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    }

    /// What is cut says so: nobody takes half a number for a whole one.
    #[test]
    fn what_is_cut_says_so() {
        let cut: Vec<String> =
            text(&drawn(80, 24)).into_iter().filter(|line| line.contains("what goes")).collect();
        assert_eq!(cut.len(), 10);
        assert!(cut.iter().all(|line| line.ends_with('…') && line.chars().count() == 80), "{cut:#?}");
        assert_eq!(shortened("22.83 GiB", 9), "22.83 GiB");
        assert_eq!(shortened("22.83 GiB", 8), "22.83 G…");
        assert_eq!([shortened("22", 1), shortened("22", 0)], ["…", ""]);
    }

    /// No screen is too small to draw on, and none too large.
    #[test]
    fn any_size_is_drawn() {
        for (width, height) in [(1, 1), (10, 3), (20, 10), (40, 12), (300, 100)] {
            drawn(width, height);
        }
    }

    /// The past rises from the least to the most, stands still in the middle, and leaves out what is not known.
    #[test]
    fn sparklines_show_the_past() {
        let rising: Vec<Option<u64>> = (0..8).map(Some).collect();
        assert_eq!(sparkline(&row("", "", &rising), 10), "  ▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&row("", "", &rising), 2), "▁█", "the newest, to their own scale");
        assert_eq!(sparkline(&row("", "", &[Some(5), None, Some(5)]), 3), "▄ ▄");
        assert_eq!(sparkline(&row("", "", &[Some(0), Some(u64::MAX)]), 2), "▁█");
        assert_eq!(sparkline(&row("", "", &[None]), 0), "");
    }
}
