//! The result of a rule on a plant, as text and as charts.

use std::time::Duration;

use concurrency_governor::Adaptive;
use concurrency_governor::feedback::History;
use concurrency_governor::testing::plant::{Plant, PlantReport};

use crate::output::{Alignment, TableCell, TextTable};
use crate::simulate::render::{ChartPanel, ChartPoint, ChartSeries, SeriesShape, SvgCanvas};

/// A rule on a plant, and what happened.
pub(in crate::simulate) struct PlantRun {
    pub(in crate::simulate) plant: Plant,
    pub(in crate::simulate) adaptive: Adaptive,
    pub(in crate::simulate) length: Duration,
    pub(in crate::simulate) seed: u64,
    pub(in crate::simulate) report: PlantReport,
    /// The last decisions of the first client.
    pub(in crate::simulate) history: History,
}

/// What happened between two instants.
struct PlantSlice {
    from: Duration,
    until: Duration,
    in_use: f64,
    goodput: f64,
    rejected: f64,
    p50: Duration,
    p99: Duration,
}

impl PlantRun {
    pub(in crate::simulate) const TITLE: &'static str = "Simulation of a rule on a plant";

    /// Describes the run, as labels with their texts, so that a reader can repeat it.
    pub(in crate::simulate) fn setup(&self) -> Vec<(&'static str, String)> {
        vec![
            ("plant", self.plant.to_string()),
            ("rule", self.adaptive.to_string()),
            ("length", humantime::format_duration(self.length).to_string()),
            ("clock", format!("simulated time, seed {}", self.seed)),
        ]
    }

    /// Renders the report for a terminal: ten rows over the time, and the last decisions.
    pub(in crate::simulate) fn text(&self) -> String {
        let mut lines = vec![Self::TITLE.to_owned()];
        lines.extend(self.setup().iter().map(|(label, text)| format!("{label:<9} {text}")));
        lines.push(String::new());
        let right = Alignment::Right;
        let mut table = TextTable::new(&[
            ("until", right),
            ("limit", right),
            ("optimum", right),
            ("mean in use", right),
            ("goodput", right),
            ("capacity", right),
            ("rejected", right),
            ("p50", right),
            ("p99", right),
        ]);
        for slice in self.slices(10) {
            let last = slice.until.saturating_sub(Duration::from_nanos(1));
            let limit = self.report.limits_between(slice.from, slice.until).2;
            table.row(
                [
                    format!("{:.1} s", slice.until.as_secs_f64()),
                    format!("{limit:.0}"),
                    format!("{:.0}", self.plant.optimum(last)),
                    format!("{:.1}", slice.in_use),
                    format!("{:.0}/s", slice.goodput),
                    format!("{:.0}/s", self.plant.capacity(last)),
                    format!("{:.0}/s", slice.rejected),
                    format!("{:.1} ms", millis(slice.p50)),
                    format!("{:.1} ms", millis(slice.p99)),
                ]
                .map(TableCell::new),
            );
        }
        lines.push(table.render());
        lines.push("Last decisions of the first client".to_owned());
        let skip = self.history.iter().len().saturating_sub(SHOWN_DECISIONS);
        for decision in self.history.iter().skip(skip) {
            lines.push(format!("{:>8.1} s  {decision}", decision.at().as_secs_f64()));
        }
        lines.join("\n") + "\n"
    }

    /// Returns all recorded decisions for readers, one line each.
    pub(in crate::simulate) fn decisions(&self) -> String {
        let line = |at: Duration, text: String| format!("{:>8.1} s  {text}\n", at.as_secs_f64());
        self.history.iter().map(|decision| line(decision.at(), decision.to_string())).collect()
    }

    /// Renders one SVG image: permits, latency, and requests per second, each beside what the server can do.
    pub(in crate::simulate) fn chart(&self, width: f64) -> String {
        let mut canvas = SvgCanvas::new(Self::TITLE, width);
        let slices = self.slices(240);
        let seconds = self.length.as_secs_f64();
        let line = |value: &dyn Fn(&PlantSlice) -> f64| {
            let point = |slice: &PlantSlice| {
                let x = slice.from.saturating_add(slice.until).as_secs_f64() / 2.0;
                Some(ChartPoint { x, y: value(slice) })
            };
            slices.iter().map(point).collect::<Vec<_>>()
        };
        let limit = line(&|slice| self.report.limits_between(slice.from, slice.until).2);
        canvas.heading("the first client");
        canvas.panel(
            150.0,
            seconds,
            &ChartPanel {
                y_label: "permits",
                min_tick: 1.0,
                series: vec![
                    ChartSeries::new("use-mean", "in use", SeriesShape::Line, line(&|slice| slice.in_use)),
                    ChartSeries::new("limit", "limit", SeriesShape::Line, limit),
                    ChartSeries::new(
                        "p90",
                        "optimum",
                        SeriesShape::Line,
                        line(&|slice| self.plant.optimum(slice.from)),
                    ),
                ],
            },
        );
        canvas.panel(
            120.0,
            seconds,
            &ChartPanel {
                y_label: "latency, ms",
                min_tick: 0.0,
                series: vec![
                    ChartSeries::new("p99", "p99", SeriesShape::Line, line(&|slice| millis(slice.p99))),
                    ChartSeries::new("p50", "p50", SeriesShape::Line, line(&|slice| millis(slice.p50))),
                ],
            },
        );
        canvas.heading("all clients");
        canvas.panel(
            120.0,
            seconds,
            &ChartPanel {
                y_label: "requests per s",
                min_tick: 1.0,
                series: vec![
                    ChartSeries::new("use-mean", "goodput", SeriesShape::Line, line(&|slice| slice.goodput)),
                    ChartSeries::new("p50", "rejected", SeriesShape::Line, line(&|slice| slice.rejected)),
                    ChartSeries::new(
                        "p90",
                        "capacity",
                        SeriesShape::Line,
                        line(&|slice| self.plant.capacity(slice.from)),
                    ),
                ],
            },
        );
        canvas.finish()
    }

    /// Divides the run into slices of equal length.
    #[expect(clippy::cast_precision_loss, reason = "three digits are enough for a report")]
    fn slices(&self, count: u32) -> Vec<PlantSlice> {
        let length = self.length.checked_div(count).unwrap_or_default().max(Duration::from_nanos(1));
        let slice = |index: u32| {
            let from = length.saturating_mul(index);
            let until = from.saturating_add(length);
            let inside = |at: &Duration| (from..until).contains(at);
            let report = &self.report;
            // The latencies are in the order of their instants.
            let first = report.latencies.partition_point(|(at, _)| *at < from);
            let end = report.latencies.partition_point(|(at, _)| *at < until);
            let mut latencies: Vec<Duration> =
                report.latencies[first..end].iter().map(|(_, latency)| *latency).collect();
            latencies.sort_unstable();
            let quantile = |percent: usize| {
                let rank = latencies.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
                latencies.get(rank).copied().unwrap_or_default()
            };
            let seconds = length.as_secs_f64();
            let samples: Vec<u32> =
                report.in_use.iter().filter(|(at, _)| inside(at)).map(|(_, in_use)| *in_use).collect();
            let in_use: f64 = samples.iter().copied().map(f64::from).sum();
            PlantSlice {
                from,
                until,
                in_use: in_use / samples.len().max(1) as f64 / report.successes.len().max(1) as f64,
                goodput: latencies.len() as f64 / seconds,
                rejected: report.rejections.iter().filter(|at| inside(at)).count() as f64 / seconds,
                p50: quantile(50),
                p99: quantile(99),
            }
        };
        (0..count).map(slice).collect()
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The number of decisions that the text shows.
const SHOWN_DECISIONS: usize = 8;
