//! The pictures: SVG that stands by itself, readable on light and on dark.

#![expect(clippy::cast_precision_loss, reason = "a picture needs three digits")]

use std::fmt::Write as _;
use std::time::Duration;

use super::record::Record;

/// One picture of all gates: for each its limit and what is in flight, its line, and how long requests waited.
pub(crate) fn svg(title: &str, length: Duration, records: &[Record]) -> String {
    let mut canvas = Canvas::new(title);
    // A gate that nothing came to has nothing to show, unless that is true of all.
    let quiet = records.iter().all(|record| record.totals.arrived == 0);
    for record in records.iter().filter(|record| quiet || record.totals.arrived > 0) {
        canvas.heading(&format!("gate {}", record.gate));
        let page = Page { length, record };
        canvas.panel(FLIGHT_HEIGHT, length, &page.flight());
        canvas.panel(LINE_HEIGHT, length, &page.line());
        canvas.panel(WAIT_HEIGHT, length, &page.waits());
    }
    canvas.finish()
}

/// What is drawn of one gate.
struct Page<'r> {
    length: Duration,
    record: &'r Record,
}

impl Page<'_> {
    fn flight(&self) -> Panel {
        let limits = self.steps();
        Panel {
            axis: "requests at work",
            least_step: 1.0,
            series: vec![
                Series::new(
                    "most",
                    "most",
                    Shape::Area,
                    self.each(|slice| Some(f64::from(slice.in_flight.most))),
                ),
                Series::new(
                    "mean",
                    "mean",
                    Shape::Line,
                    self.each(|slice| Some(slice.in_flight.mean(self.record.slice))),
                ),
                Series::new("limit", "limit", Shape::Line, limits),
            ],
        }
    }

    fn line(&self) -> Panel {
        let most = self.each(|slice| Some(f64::from(slice.waiting.most)));
        let mean = self.each(|slice| Some(slice.waiting.mean(self.record.slice)));
        Panel {
            axis: "requests waiting",
            least_step: 1.0,
            series: vec![
                Series::new("queue-most", "most", Shape::Area, most),
                Series::new("queue", "mean", Shape::Line, mean),
            ],
        }
    }

    fn waits(&self) -> Panel {
        let longest = self.record.waits().max().unwrap_or_default();
        let (axis, unit) =
            if longest >= Duration::from_secs(2) { ("wait, s", 1.0) } else { ("wait, ms", 1e3) };
        let quantile = |numerator| {
            self.each(move |slice| slice.waits.quantile(numerator, 100).map(|wait| wait.as_secs_f64() * unit))
        };
        Panel {
            axis,
            least_step: 0.0,
            series: vec![
                Series::new("p99", "p99", Shape::Line, quantile(99)),
                Series::new("p90", "p90", Shape::Line, quantile(90)),
                Series::new("p50", "p50", Shape::Line, quantile(50)),
            ],
        }
    }

    /// A number a slice, at its middle; none where nothing happened.
    fn each(&self, value: impl Fn(&super::record::Slice) -> Option<f64>) -> Vec<Option<Point>> {
        let slice = self.record.slice.as_secs_f64();
        let points = self.record.slices.iter().enumerate();
        points.map(|(at, of)| value(of).map(|y| Point { x: (at as f64 + 0.5) * slice, y })).collect()
    }

    /// The limit, which changes at once.
    fn steps(&self) -> Vec<Option<Point>> {
        let mut points = Vec::new();
        let mut last = None;
        for (since, limit) in &self.record.limits {
            let x = since.as_secs_f64();
            points.extend(last.map(|y| Some(Point { x, y })));
            let y = f64::from(*limit);
            points.push(Some(Point { x, y }));
            last = Some(y);
        }
        points.extend(last.map(|y| Some(Point { x: self.length.as_secs_f64(), y })));
        points
    }
}

/// One pair of axes with what is drawn between them.
struct Panel {
    axis: &'static str,
    /// Numbers of requests are whole.
    least_step: f64,
    series: Vec<Series>,
}

struct Series {
    class: &'static str,
    name: &'static str,
    shape: Shape,
    points: Vec<Option<Point>>,
}

impl Series {
    fn new(class: &'static str, name: &'static str, shape: Shape, points: Vec<Option<Point>>) -> Self {
        Self { class, name, shape, points }
    }

    /// Stretches without a gap.
    fn runs(&self) -> impl Iterator<Item = Vec<Point>> {
        self.points
            .split(Option::is_none)
            .map(|run| run.iter().flatten().copied().collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Line,
    Area,
}

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

/// A picture that grows downwards.
struct Canvas {
    title: String,
    body: String,
    y: f64,
}

impl Canvas {
    fn new(title: &str) -> Self {
        Self { title: escaped(title), body: String::new(), y: 0.0 }
    }

    fn heading(&mut self, text: &str) {
        self.y += 34.0;
        let text = escaped(text);
        put(
            &mut self.body,
            format_args!("<text class=\"heading\" x=\"{LEFT}\" y=\"{:.0}\">{text}</text>\n", self.y),
        );
        self.y += 12.0;
    }

    fn panel(&mut self, height: f64, length: Duration, panel: &Panel) {
        self.y += 22.0; // room for the legend
        let top = self.y;
        let highest = panel
            .series
            .iter()
            .flat_map(|series| &series.points)
            .flatten()
            .fold(0.0, |most: f64, point| most.max(point.y));
        let y_ticks = ticks(highest, 4, panel.least_step);
        let y_end = y_ticks.last().copied().unwrap_or(1.0).max(highest);
        let x_end = length.as_secs_f64().max(f64::MIN_POSITIVE);
        let place = |point: Point| (LEFT + point.x / x_end * WIDTH, top + height - point.y / y_end * height);

        self.legend(top, panel);
        for tick in &y_ticks {
            let (_, y) = place(Point { x: 0.0, y: *tick });
            let right = LEFT + WIDTH;
            put(
                &mut self.body,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n"
                ),
            );
            put(
                &mut self.body,
                format_args!(
                    "<text class=\"tick\" text-anchor=\"end\" x=\"{:.0}\" y=\"{:.1}\">{}</text>\n",
                    LEFT - 6.0,
                    y + 4.0,
                    number(*tick)
                ),
            );
        }
        let bottom = top + height;
        for tick in ticks(x_end, 8, 0.0).into_iter().filter(|tick| *tick <= x_end) {
            let (x, _) = place(Point { x: tick, y: 0.0 });
            put(
                &mut self.body,
                format_args!(
                    "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.0}\" y2=\"{:.0}\"/>\n",
                    bottom + 4.0
                ),
            );
            put(
                &mut self.body,
                format_args!(
                    "<text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.0}\">{}</text>\n",
                    bottom + 17.0,
                    number(tick)
                ),
            );
        }
        let middle = top + height / 2.0;
        put(
            &mut self.body,
            format_args!(
                "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(16 {middle:.0}) rotate(-90)\">{}</text>\n",
                panel.axis
            ),
        );
        put(
            &mut self.body,
            format_args!(
                "<text class=\"label\" text-anchor=\"end\" x=\"{:.0}\" y=\"{:.0}\">time, s</text>\n",
                LEFT + WIDTH,
                bottom + 31.0
            ),
        );
        for series in &panel.series {
            self.series(series, bottom, place);
        }
        put(
            &mut self.body,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{bottom:.0}\" y2=\"{bottom:.0}\"/>\n",
                LEFT + WIDTH
            ),
        );
        self.y = bottom + 36.0;
    }

    fn legend(&mut self, top: f64, panel: &Panel) {
        let mut x = LEFT;
        for series in &panel.series {
            let y = top - 10.0;
            let class = series.class;
            match series.shape {
                Shape::Line => put(
                    &mut self.body,
                    format_args!(
                        "<line class=\"{class}\" x1=\"{x:.0}\" x2=\"{:.0}\" y1=\"{y:.0}\" y2=\"{y:.0}\"/>\n",
                        x + 18.0
                    ),
                ),
                Shape::Area => put(
                    &mut self.body,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"18\" height=\"10\"/>\n",
                        y - 5.0
                    ),
                ),
            }
            put(
                &mut self.body,
                format_args!(
                    "<text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\">{}</text>\n",
                    x + 23.0,
                    y + 4.0,
                    series.name
                ),
            );
            x += 33.0 + 7.0 * series.name.len() as f64;
        }
    }

    fn series(&mut self, series: &Series, bottom: f64, place: impl Fn(Point) -> (f64, f64)) {
        for run in series.runs() {
            let mut path = String::new();
            for point in &run {
                let (x, y) = place(*point);
                put(&mut path, format_args!("{x:.1},{y:.1} "));
            }
            let path = path.trim_end();
            match (series.shape, run.first(), run.last()) {
                (Shape::Area, Some(first), Some(last)) => {
                    let (start, end) = (place(*first).0, place(*last).0);
                    put(
                        &mut self.body,
                        format_args!(
                            "<polygon class=\"{}\" points=\"{start:.1},{bottom:.1} {path} {end:.1},{bottom:.1}\"/>\n",
                            series.class
                        ),
                    );
                }
                // A line of one point would not be seen.
                (Shape::Line, Some(only), _) if run.len() == 1 => {
                    let (x, y) = place(*only);
                    put(
                        &mut self.body,
                        format_args!(
                            "<line class=\"{}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n",
                            series.class,
                            x - 1.0,
                            x + 1.0
                        ),
                    );
                }
                _ => put(
                    &mut self.body,
                    format_args!("<polyline class=\"{}\" points=\"{path}\"/>\n", series.class),
                ),
            }
        }
    }

    fn finish(self) -> String {
        let Self { title, body, y } = self;
        let (width, height) = (LEFT + WIDTH + RIGHT, y + 8.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
        )
    }
}

/// Round numbers from 0 to at least the highest, so many or a few more.
fn ticks(highest: f64, about: u32, least_step: f64) -> Vec<f64> {
    if !(highest.is_finite() && highest > 0.0) {
        return vec![0.0, 1.0];
    }
    let rough = (highest / f64::from(about)).max(least_step);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < highest) && ticks.len() < 20 {
        ticks.push(step * ticks.len() as f64);
    }
    ticks
}

/// A number without a tail of zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text as it may stand in XML.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push(' '), // XML has no place for most of them
            c => escaped.push(c),
        }
    }
    escaped
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(what);
}

/// From the left edge to the axis: room for its numbers and its name.
const LEFT: f64 = 72.0;
/// Between the axes.
const WIDTH: f64 = 820.0;
const RIGHT: f64 = 18.0;

const FLIGHT_HEIGHT: f64 = 150.0;
const LINE_HEIGHT: f64 = 90.0;
const WAIT_HEIGHT: f64 = 120.0;

/// Colours that differ in lightness too, for those who see no hue; the other set is for a dark page. They stand in each rule,
/// since many viewers of pictures know no variables, and draw black on black.
const STYLE: &str = "
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}.heading{font-size:16px;font-weight:600}
polyline,line{fill:none;stroke-width:1.5}.grid,.axis{stroke-width:1}.limit{stroke-dasharray:6 3;stroke-width:2}.p99{stroke-width:2}
text{fill:#1d2329}.paper{fill:#fff}.tick,.label{fill:#5b6670}.grid{stroke:#e3e7ea}.axis{stroke:#5b6670}
.limit{stroke:#b3261e}.mean{stroke:#0b5cad}.most{fill:#bcd7f2}.queue{stroke:#8a5300}.queue-most{fill:#f2d9b3}
.p50{stroke:#5aa7d6}.p90{stroke:#2a6fa8}.p99{stroke:#123a63}
@media (prefers-color-scheme:dark){
text{fill:#e7ebee}.paper{fill:#15191d}.tick,.label{fill:#9aa6b0}.grid{stroke:#2b3238}.axis{stroke:#9aa6b0}
.limit{stroke:#ff8a80}.mean{stroke:#8ec5ff}.most{fill:#24476b}.queue{stroke:#ffc46b}.queue-most{fill:#5a4320}
.p50{stroke:#4f88b0}.p90{stroke:#86bce6}.p99{stroke:#d3e9ff}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks are round, begin at 0 and reach the highest.
    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(ticks(10.0, 4, 0.0), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(128.0, 4, 0.0), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(ticks(2.0, 4, 0.0), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(2.0, 4, 1.0), [0.0, 1.0, 2.0], "of whole things there is no half");
        assert_eq!(
            ticks(0.003, 4, 0.0).iter().map(|tick| number(*tick)).collect::<Vec<_>>(),
            ["0", "0.001", "0.002", "0.003"]
        );
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            let ticks = ticks(odd, 4, 0.0);
            assert!((2..=20).contains(&ticks.len()), "{odd}: {ticks:?}");
        }
    }

    /// What is written into a picture stays text.
    #[test]
    fn texts_are_escaped() {
        assert_eq!(escaped("a<b>&\"c'\u{7}"), "a&lt;b&gt;&amp;&quot;c&#39; ");
    }
}
