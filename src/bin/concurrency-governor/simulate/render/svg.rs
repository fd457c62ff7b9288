//! A small SVG renderer for line charts over time. The image loads nothing else, and suits light and dark pages.

use std::fmt::{Arguments, Write as _};

/// An image that grows downwards as headings and panels are added.
pub(in crate::simulate) struct SvgCanvas {
    title: String,
    body: String,
    /// The width of the image.
    width: f64,
    /// The lower end of what has been drawn.
    y: f64,
}

/// One pair of axes with the series between them. The x-axis is the time in seconds.
pub(in crate::simulate) struct ChartPanel {
    pub(in crate::simulate) y_label: &'static str,
    /// The smallest distance of two ticks on the y-axis: 1 for a number of requests.
    pub(in crate::simulate) min_tick: f64,
    pub(in crate::simulate) series: Vec<ChartSeries>,
}

/// A curve, with a gap at each `None`.
pub(in crate::simulate) struct ChartSeries {
    /// The CSS class that sets the colour.
    class: &'static str,
    /// The name in the legend.
    name: &'static str,
    shape: SeriesShape,
    points: Vec<Option<ChartPoint>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) enum SeriesShape {
    Line,
    /// The area between the curve and the x-axis.
    Area,
}

#[derive(Clone, Copy)]
pub(in crate::simulate) struct ChartPoint {
    pub(in crate::simulate) x: f64,
    pub(in crate::simulate) y: f64,
}

impl ChartSeries {
    pub(in crate::simulate) fn new(
        class: &'static str,
        name: &'static str,
        shape: SeriesShape,
        points: Vec<Option<ChartPoint>>,
    ) -> Self {
        Self { class, name, shape, points }
    }
}

impl SvgCanvas {
    /// Creates an empty image of this width.
    pub(in crate::simulate) fn new(title: &str, width: f64) -> Self {
        Self { title: escape_xml(title), body: String::new(), width, y: 0.0 }
    }

    pub(in crate::simulate) fn heading(&mut self, text: &str) {
        self.y += 34.0;
        self.text("heading", "start", (LEFT, self.y), &escape_xml(text));
        self.y += 12.0;
    }

    /// Draws a panel of this height, with a legend above it. `x_end` is the end of the x-axis.
    pub(in crate::simulate) fn panel(&mut self, height: f64, x_end: f64, panel: &ChartPanel) {
        self.y += 22.0; // the legend
        let top = self.y;
        let (bottom, right) = (top + height, self.width - RIGHT);
        self.legend(top - 10.0, &panel.series);

        // The y-axis ends at the first tick that is not below the highest point.
        let points = panel.series.iter().flat_map(|series| &series.points).flatten();
        let highest = points.fold(0.0, |highest: f64, point| highest.max(point.y));
        let y_ticks = ticks(highest, 4, panel.min_tick);
        let y_end = y_ticks.last().copied().unwrap_or(1.0).max(highest);
        let x_end = x_end.max(f64::MIN_POSITIVE);
        let position =
            |point: ChartPoint| (LEFT + point.x / x_end * (right - LEFT), bottom - point.y / y_end * height);

        for tick in y_ticks {
            let (_, y) = position(ChartPoint { x: 0.0, y: tick });
            self.line("grid", (LEFT, y), (right, y));
            self.text("tick", "end", (LEFT - 6.0, y + 4.0), &format_number(tick));
        }
        let x_ticks = if self.width < NARROW { 4 } else { 8 };
        for tick in ticks(x_end, x_ticks, 0.0).into_iter().filter(|tick| *tick <= x_end) {
            let (x, _) = position(ChartPoint { x: tick, y: 0.0 });
            self.line("axis", (x, bottom), (x, bottom + 4.0));
            self.text("tick", "middle", (x, bottom + 17.0), &format_number(tick));
        }
        self.element(format_args!(
            "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(16 {:.0}) rotate(-90)\">{}</text>",
            top + height / 2.0,
            panel.y_label
        ));
        self.text("label", "end", (right, bottom + 31.0), "time, s");
        for series in &panel.series {
            self.curve(series, bottom, position);
        }
        self.line("axis", (LEFT, bottom), (right, bottom)); // above the areas
        self.y = bottom + 36.0;
    }

    /// Finishes the image and returns its source.
    pub(in crate::simulate) fn finish(self) -> String {
        let Self { title, body, width, y } = self;
        let height = y + 8.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
        )
    }

    fn legend(&mut self, y: f64, series: &[ChartSeries]) {
        let mut x = LEFT;
        for ChartSeries { class, name, shape, .. } in series {
            match shape {
                SeriesShape::Line => self.line(class, (x, y), (x + 18.0, y)),
                SeriesShape::Area => self.element(format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"18\" height=\"10\"/>",
                    y - 5.0
                )),
            }
            self.text("tick", "start", (x + 23.0, y + 4.0), name);
            let name_width = 7.0 * f64::from(u32::try_from(name.len()).unwrap_or(u32::MAX));
            x += 33.0 + name_width;
        }
    }

    /// Draws each part of a series between two gaps.
    fn curve(&mut self, series: &ChartSeries, bottom: f64, position: impl Fn(ChartPoint) -> (f64, f64)) {
        let class = series.class;
        for part in series.points.split(Option::is_none) {
            let points: Vec<(f64, f64)> = part.iter().flatten().map(|point| position(*point)).collect();
            let (Some((first, y)), Some((last, _))) = (points.first(), points.last()) else { continue };
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            match series.shape {
                SeriesShape::Area => self.element(format_args!(
                    "<polygon class=\"{class}\" points=\"{first:.1},{bottom:.1} {path} {last:.1},{bottom:.1}\"/>"
                )),
                // A line through one point would be invisible, so it gets a length of two pixels.
                SeriesShape::Line if points.len() == 1 => self.line(class, (first - 1.0, *y), (first + 1.0, *y)),
                SeriesShape::Line => {
                    self.element(format_args!("<polyline class=\"{class}\" points=\"{path}\"/>"));
                }
            }
        }
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.element(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    fn text(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
        self.element(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    fn element(&mut self, markup: Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _: std::fmt::Result = writeln!(self.body, "{markup}");
    }
}

/// Returns round numbers from 0 to at least `highest`, about `count` of them and at most 20.
fn ticks(highest: f64, count: u32, min_step: f64) -> Vec<f64> {
    if !(highest.is_finite() && highest > 0.0) {
        return vec![0.0, 1.0];
    }
    // The step is the next number above of the form 1, 2 or 5 times a power of 10.
    let rough = (highest / f64::from(count)).max(min_step);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0);
    let mut ticks = vec![0.0];
    let mut multiple = 1.0;
    while ticks.last().is_some_and(|last| *last < highest) && ticks.len() < 20 {
        ticks.push(step * multiple);
        multiple += 1.0;
    }
    ticks
}

/// Formats a number with at most three decimal places and no trailing zeros.
fn format_number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Escapes text for XML and HTML.
pub(in crate::simulate) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push(' '), // XML does not allow most control characters
            c => escaped.push(c),
        }
    }
    escaped
}

/// The distance from the left edge to the y-axis: room for its numbers and its label.
const LEFT: f64 = 72.0;
/// A narrower image has room for fewer ticks on the x-axis.
const NARROW: f64 = 600.0;
/// The distance from the end of the x-axis to the right edge.
const RIGHT: f64 = 18.0;

/// The percentiles differ in their dashes, and the colours in lightness as well, for readers who cannot see the hue. The
/// second set is for dark pages. There are no CSS variables, because many image viewers do not support them and draw black
/// on black.
const STYLE: &str = "
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}.heading{font-size:16px;font-weight:600}
polyline,line{fill:none;stroke-width:1.5}.grid,.axis{stroke-width:1}.limit{stroke-dasharray:6 3;stroke-width:2}.p99{stroke-width:2}.p90{stroke-dasharray:9 3}.p50{stroke-dasharray:2 3}
.order-oldest{stroke-dasharray:2 3}.order-newest{stroke-dasharray:9 3}.order-shedding{stroke-width:2}
text{fill:#1d2329}.paper{fill:#fff}.tick,.label{fill:#5b6670}.grid{stroke:#e3e7ea}.axis{stroke:#5b6670}
.limit{stroke:#b3261e}.use-mean{stroke:#0b5cad}.use-peak{fill:#bcd7f2}.queue-mean{stroke:#8a5300}.queue-peak{fill:#f2d9b3}
.p50{stroke:#5aa7d6}.p90{stroke:#2a6fa8}.p99{stroke:#123a63}
.order-oldest{stroke:#b3261e}.order-newest{stroke:#8a5300}.order-shedding{stroke:#0b5cad}
@media (prefers-color-scheme:dark){
text{fill:#e7ebee}.paper{fill:#15191d}.tick,.label{fill:#9aa6b0}.grid{stroke:#2b3238}.axis{stroke:#9aa6b0}
.limit{stroke:#ff8a80}.use-mean{stroke:#8ec5ff}.use-peak{fill:#24476b}.queue-mean{stroke:#ffc46b}.queue-peak{fill:#5a4320}
.p50{stroke:#4f88b0}.p90{stroke:#86bce6}.p99{stroke:#d3e9ff}
.order-oldest{stroke:#ff8a80}.order-newest{stroke:#ffc46b}.order-shedding{stroke:#8ec5ff}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks are round numbers that start at 0 and reach the highest value.
    #[test]
    fn ticks_are_round_and_reach_the_highest_value() {
        assert_eq!(ticks(10.0, 4, 0.0), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(128.0, 4, 0.0), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(ticks(2.0, 4, 0.0), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(2.0, 4, 1.0), [0.0, 1.0, 2.0], "a number of requests has no halves");
        assert_eq!(
            ticks(0.003, 4, 0.0).iter().map(|tick| format_number(*tick)).collect::<Vec<_>>(),
            ["0", "0.001", "0.002", "0.003"]
        );
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            let ticks = ticks(odd, 4, 0.0);
            assert!((2..=20).contains(&ticks.len()), "{odd}: {ticks:?}");
        }
    }

    /// Text in a chart cannot become markup.
    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape_xml("a<b>&\"c'\u{7}"), "a&lt;b&gt;&amp;&quot;c&#39; ");
    }
}
