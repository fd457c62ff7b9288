//! The screen of `watch`.

use std::time::Duration;

use crossterm::style::{Attribute, Color, ContentStyle, StyledContent};

use super::history::{WatchHistory, WatchRow};
use super::lines;

/// One line of the screen: texts with their styles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScreenLine(pub(super) Vec<StyledContent<String>>);

/// The styles that differ between a screen with colours and one without.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScreenStyles {
    /// The style of a history.
    past: ContentStyle,
    /// The style of a value that has just changed.
    changed: ContentStyle,
}

impl ScreenStyles {
    pub(super) fn coloured() -> Self {
        let past = ContentStyle { foreground_color: Some(Color::DarkCyan), ..ContentStyle::default() };
        let changed = ContentStyle {
            foreground_color: Some(Color::Black),
            background_color: Some(Color::DarkYellow),
            ..ContentStyle::default()
        };
        Self { past, changed }
    }

    pub(super) fn plain() -> Self {
        Self { past: ContentStyle::default(), changed: styled_with(Attribute::Reverse) }
    }
}

/// Renders the title, the readings, the gates and the changes. If the screen is too small, the oldest changes are cut first.
pub(super) fn render(
    history: &WatchHistory,
    every: Duration,
    styles: ScreenStyles,
    (columns, rows): (u16, u16),
) -> Vec<ScreenLine> {
    let width = usize::from(columns);
    let mut lines = vec![title_line(history, every, width), ScreenLine::default()];
    let sections = [
        ("Readings", &history.readings),
        ("Gates", &history.gates),
        ("Fleets", &history.shared),
        ("Holders", &history.holders),
    ];
    let is_optional = |title: &str| ["Fleets", "Holders"].contains(&title);
    let with_rows = sections.into_iter().filter(|(title, rows)| !is_optional(title) || !rows.is_empty());
    for (title, rows) in with_rows {
        lines.extend(row_lines(title, rows, history.refreshes, width, styles));
        lines.push(ScreenLine::default());
    }
    lines.extend(change_lines(history, width));
    lines.truncate(rows.into());
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// Renders the title and then the status. The title is cut before the key that quits.
fn title_line(history: &WatchHistory, every: Duration, width: usize) -> ScreenLine {
    let time = lines::time_of_day(history.now);
    let status = format!("  {time} UTC, every {}  q quits", humantime::format_duration(every));
    let room = width.saturating_sub(status.chars().count());
    ScreenLine(vec![styled_with(Attribute::Bold).apply(shorten(&history.title, room)), quiet(status)])
}

/// Renders a title, and one line for each row: its name, its value, its history and its details. The name of a gate within
/// others is indented.
fn row_lines(
    title: &str,
    rows: &[WatchRow],
    refresh: u64,
    room: usize,
    styles: ScreenStyles,
) -> Vec<ScreenLine> {
    // Names and values are as wide as their widest text. The history gets a third of the rest, within bounds.
    let label = |row: &WatchRow| format!("{}{}", lines::indent(row), row.name);
    let names = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0);
    let values = rows.iter().map(|row| row.value.chars().count()).max().unwrap_or(0);
    let rest = room.saturating_sub(names).saturating_sub(values).saturating_sub(3 * GAP);
    let past = (rest / 3).clamp(MIN_PAST_WIDTH.min(rest), MAX_PAST_WIDTH);
    let details = rest.saturating_sub(past);

    let mut lines = vec![ScreenLine(vec![section_title(title)])];
    for row in rows {
        let style = if has_just_changed(row, refresh) { styles.changed } else { ContentStyle::default() };
        lines.push(ScreenLine(vec![
            unstyled(format!("{:<names$}  ", label(row))),
            style.apply(format!("{:>values$}", row.value)),
            unstyled("  ".to_owned()),
            styles.past.apply(sparkline(row, past)),
            unstyled("  ".to_owned()),
            quiet(shorten(&row.details, details)),
        ]));
    }
    lines
}

fn change_lines(history: &WatchHistory, width: usize) -> Vec<ScreenLine> {
    let mut lines = vec![ScreenLine(vec![section_title("Changes")])];
    if history.changes.is_empty() {
        lines.push(ScreenLine(vec![quiet("none yet".to_owned())]));
    }
    let newest_first = history.changes.iter().rev().flat_map(lines::format_change);
    lines.extend(
        newest_first.flat_map(|line| wrap(&line, width)).map(|line| ScreenLine(vec![unstyled(line)])),
    );
    lines
}

fn section_title(title: &str) -> StyledContent<String> {
    let mut style = styled_with(Attribute::Bold);
    style.attributes.set(Attribute::Underlined);
    style.apply(title.to_owned())
}

fn quiet(text: String) -> StyledContent<String> {
    styled_with(Attribute::Dim).apply(text)
}

fn unstyled(text: String) -> StyledContent<String> {
    ContentStyle::default().apply(text)
}

fn styled_with(attribute: Attribute) -> ContentStyle {
    ContentStyle { attributes: attribute.into(), ..ContentStyle::default() }
}

/// Cuts a line at the right edge, where the terminal would continue it on the next line.
fn cut(line: ScreenLine, width: usize) -> ScreenLine {
    let mut room = width;
    let spans = line.0.into_iter().map(|span| {
        let text: String = span.content().chars().take(room).collect();
        room = room.saturating_sub(text.chars().count());
        span.style().apply(text)
    });
    ScreenLine(spans.collect())
}

/// Breaks a line between words, or within a word that is wider than a line. Further lines are indented.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let indent = CONTINUATION.min(width / 2);
    let (mut lines, mut rest) = (Vec::new(), text.to_owned());
    while rest.chars().count() > width.max(1) {
        let end = rest.char_indices().nth(width.max(1)).map_or(rest.len(), |(end, _)| end);
        let blank = rest.get(..=end).and_then(|line| line.rfind(' '));
        // A line that would hold only the indent breaks within the word instead.
        let end = blank.filter(|blank| !rest[..*blank].trim().is_empty()).unwrap_or(end);
        let next = rest.split_off(end);
        lines.push(rest.trim_end().to_owned());
        rest = format!("{:indent$}{}", "", next.trim_start());
    }
    lines.push(rest);
    lines
}

/// Cuts a text to the width, and ends it with `…`. Without that mark, a cut number would look like a smaller one.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start = text.chars().take(width.saturating_sub(1));
    start.chain(std::iter::once('…').take(width)).collect()
}

/// Returns `true` if the value changed in one of the last refreshes.
fn has_just_changed(row: &WatchRow, refresh: u64) -> bool {
    row.changed_at.is_some_and(|changed| refresh.saturating_sub(changed) < HIGHLIGHTED_REFRESHES)
}

/// Renders the history as bars, the newest value on the right.
///
/// The bars are scaled to the minimum and the maximum of the values shown. If all values are equal, the bars have half
/// height. An unknown value is a space.
fn sparkline(row: &WatchRow, width: usize) -> String {
    let skip = row.past.len().saturating_sub(width);
    let shown = row.past.iter().skip(skip);
    let known = || shown.clone().flatten().copied();
    let (min, max) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let bar = |number: u64| match max.saturating_sub(min) {
        0 => HALF_BAR,
        range => {
            let scaled = u128::from(number.saturating_sub(min)).saturating_mul(HIGHEST_BAR);
            let index = scaled.checked_div(range.into()).and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| BARS.get(index).copied()).unwrap_or(' ')
        }
    };
    let bars: String = shown.clone().map(|number| number.map_or(' ', bar)).collect();
    format!("{bars:>width$}")
}

/// The indent of a line that continues the one above: the width of the time and of a level.
const CONTINUATION: usize = 11;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The index of the highest bar.
const HIGHEST_BAR: u128 = 7;
const HALF_BAR: char = '▄';

/// The number of refreshes for which a change is highlighted.
const HIGHLIGHTED_REFRESHES: u64 = 5;

/// The number of spaces between two columns.
const GAP: usize = 2;
const MIN_PAST_WIDTH: usize = 10;
const MAX_PAST_WIDTH: usize = 60;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::watch::history::WatchChange;

    fn row(name: &str, value: &str, past: &[Option<u64>]) -> WatchRow {
        WatchRow {
            name: name.to_owned(),
            level: 0,
            value: value.to_owned(),
            details: "details that are long enough to be cut at the end of a line of 80 columns".to_owned(),
            past: past.iter().copied().collect(),
            changed_at: None,
            is_volatile: false,
        }
    }

    fn history() -> WatchHistory {
        let many: Vec<Option<u64>> = (0..200).map(|n| Some(n % 7)).collect();
        let names = ["cpu", "fd", "memory", "tasks", "pressure.cpu", "pressure.io", "pressure.memory"];
        let mut readings: Vec<WatchRow> = names.iter().map(|name| row(name, "31.25 GiB", &many)).collect();
        readings[0].changed_at = Some(198);
        let gates = ["blocking", "io", "pool"]
            .iter()
            .map(|name| row(name, "128", &[Some(1), None, Some(2)]))
            .collect();
        let changes: VecDeque<WatchChange> =
            (0..50).map(|at| WatchChange { at, lines: vec![format!("cpu: {at} -> 1")] }).collect();
        WatchHistory::for_test(readings, gates, changes, 200)
    }

    fn screen(styles: ScreenStyles, width: u16, height: u16) -> Vec<ScreenLine> {
        render(&history(), Duration::from_secs(1), styles, (width, height))
    }

    fn texts(lines: &[ScreenLine]) -> Vec<String> {
        lines.iter().map(|line| line.0.iter().map(|span| span.content().as_str()).collect()).collect()
    }

    /// A screen of 80 by 24 has room for every reading, every gate and the newest changes.
    #[test]
    fn everything_fits_on_80_by_24() {
        let lines = texts(&screen(ScreenStyles::coloured(), 80, 24));
        for name in ["Readings", "cpu", "pressure.memory", "Gates", "blocking", "io", "pool", "Changes"] {
            assert!(lines.iter().any(|line| line.starts_with(name)), "{name}: {lines:#?}");
        }
        assert!(lines[0].contains("q quits"), "{lines:#?}");
        let newest = lines.iter().position(|line| line.starts_with("Changes")).unwrap() + 1;
        assert!(lines[newest].starts_with("00:00:49 cpu: 49 -> 1"), "{lines:#?}");
        let with_history = lines.iter().filter(|line| line.contains('█')).count();
        assert_eq!(with_history, 10, "each value has its history: {lines:#?}");
    }

    /// The gates that share their limits have a section of their own, if there are any.
    #[test]
    fn fleets_stand_below_the_gates() {
        let titles = |history: &WatchHistory| {
            let lines = texts(&render(history, Duration::from_secs(1), ScreenStyles::plain(), (80, 40)));
            let is_title =
                |line: &&String| ["Gates", "Fleets", "Holders", "Changes"].contains(&line.as_str());
            lines.iter().filter(is_title).cloned().collect::<Vec<_>>()
        };
        let mut history = history();
        assert_eq!(titles(&history), ["Gates", "Changes"]);
        history.shared = vec![row("io", "200, ready", &[Some(130)])];
        assert_eq!(titles(&history), ["Gates", "Fleets", "Changes"]);
    }

    /// Only a value that has just changed is highlighted, with colours and without.
    #[test]
    fn changed_values_are_highlighted() {
        let (coloured, plain) = (ScreenStyles::coloured(), ScreenStyles::plain());
        for styles in [coloured, plain] {
            let lines = screen(styles, 80, 24);
            let is_highlighted =
                |line: &ScreenLine| line.0.iter().any(|span| *span.style() == styles.changed);
            let highlighted: Vec<_> = lines.iter().filter(|line| is_highlighted(line)).cloned().collect();
            assert!(texts(&highlighted)[0].starts_with("cpu "));
            assert_eq!(highlighted.len(), 1);
        }
        let has_colour = |span: &StyledContent<String>| {
            span.style().foreground_color.or(span.style().background_color).is_some()
        };
        assert!(!screen(plain, 80, 24).iter().flat_map(|line| &line.0).any(has_colour));
        assert!(screen(coloured, 80, 24).iter().flat_map(|line| &line.0).any(has_colour));
    }

    /// A text that is cut ends with a mark, so that a part of a number cannot be read as the number.
    #[test]
    fn cut_texts_end_with_a_mark() {
        let lines = texts(&screen(ScreenStyles::coloured(), 80, 24));
        let cut: Vec<String> = lines.into_iter().filter(|line| line.contains("details that")).collect();
        assert_eq!(cut.len(), 10);
        assert!(cut.iter().all(|line| line.ends_with('…') && line.chars().count() == 80), "{cut:#?}");
        assert_eq!(shorten("22.83 GiB", 9), "22.83 GiB");
        assert_eq!(shorten("22.83 GiB", 8), "22.83 G…");
        assert_eq!([shorten("22", 1), shorten("22", 0)], ["…", ""]);
    }

    /// A change that is wider than the screen is shown whole, on several lines.
    #[test]
    fn wide_changes_are_shown_whole() {
        let text = "00:00:00 refresh failed: plan file /a/path/that/is/longer/than/one/line.toml: 2 problems";
        assert_eq!(
            wrap(text, 40),
            [
                "00:00:00 refresh failed: plan file",
                "           /a/path/that/is/longer/than/o",
                "           ne/line.toml: 2 problems",
            ]
        );
        assert_eq!(wrap("short", 5), ["short"]);
        for width in 0..100 {
            let lines = wrap(text, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(1)), "{width}: {lines:#?}");
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text), "{width}");
        }
    }

    /// A screen of any size is drawn within its bounds.
    #[test]
    fn screens_of_any_size_are_drawn() {
        for (width, height) in [(0, 0), (1, 1), (10, 3), (20, 10), (40, 12), (300, 100)] {
            let lines = texts(&screen(ScreenStyles::coloured(), width, height));
            assert!(lines.len() <= height.into());
            assert!(lines.iter().all(|line| line.chars().count() <= width.into()), "{width}: {lines:#?}");
        }
    }

    /// The bars go from the minimum to the maximum of the values shown, and unknown values are blank.
    #[test]
    fn sparklines_are_scaled_to_the_values_shown() {
        let rising: Vec<Option<u64>> = (0..8).map(Some).collect();
        assert_eq!(sparkline(&row("", "", &rising), 10), "  ▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&row("", "", &rising), 2), "▁█", "the two newest values, with their own scale");
        assert_eq!(sparkline(&row("", "", &[Some(5), None, Some(5)]), 3), "▄ ▄");
        assert_eq!(sparkline(&row("", "", &[Some(0), Some(u64::MAX)]), 2), "▁█");
        assert_eq!(sparkline(&row("", "", &[None]), 0), "");
    }
}
