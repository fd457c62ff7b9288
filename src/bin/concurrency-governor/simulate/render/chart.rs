//! The charts of a simulation: what is drawn for each gate.

#![expect(clippy::cast_precision_loss, reason = "three digits are enough for a chart")]

use std::time::Duration;

use super::svg::{ChartPanel, ChartPoint, ChartSeries, SeriesShape, SvgCanvas};
use crate::simulate::record::{GateRecord, TimeSlice};

/// The width that an image is drawn for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChartWidth {
    /// A desktop page.
    Wide,
    /// A page of 400 pixels.
    Narrow,
}

impl ChartWidth {
    pub(super) const fn pixels(self) -> f64 {
        match self {
            Self::Wide => 910.0,
            Self::Narrow => 360.0,
        }
    }
}

/// Renders one SVG image with three panels for each gate: permits in use and the limit, requests waiting, and waits.
pub(crate) fn chart(title: &str, length: Duration, records: &[GateRecord], width: ChartWidth) -> String {
    let mut canvas = SvgCanvas::new(title, width.pixels());
    // Gates without requests are left out, unless no gate has any.
    let is_idle = records.iter().all(|record| record.totals.arrived == 0);
    for record in records.iter().filter(|record| is_idle || record.totals.arrived > 0) {
        canvas.heading(&format!("gate {}", record.name));
        let seconds = length.as_secs_f64();
        canvas.panel(USE_HEIGHT, seconds, &use_panel(record, length));
        canvas.panel(QUEUE_HEIGHT, seconds, &queue_panel(record));
        canvas.panel(WAIT_HEIGHT, seconds, &wait_panel(record));
    }
    canvas.finish()
}

fn use_panel(record: &GateRecord, length: Duration) -> ChartPanel {
    let peak = per_slice(record, |slice| Some(f64::from(slice.in_use.peak)));
    let mean = per_slice(record, |slice| Some(slice.in_use.mean(record.slice)));
    ChartPanel {
        y_label: "permits in use",
        min_tick: 1.0,
        series: vec![
            ChartSeries::new("use-peak", "peak", SeriesShape::Area, peak),
            ChartSeries::new("use-mean", "mean", SeriesShape::Line, mean),
            ChartSeries::new("limit", "limit", SeriesShape::Line, limit_steps(record, length)),
        ],
    }
}

fn queue_panel(record: &GateRecord) -> ChartPanel {
    let peak = per_slice(record, |slice| Some(f64::from(slice.waiting.peak)));
    let mean = per_slice(record, |slice| Some(slice.waiting.mean(record.slice)));
    ChartPanel {
        y_label: "requests waiting",
        min_tick: 1.0,
        series: vec![
            ChartSeries::new("queue-peak", "peak", SeriesShape::Area, peak),
            ChartSeries::new("queue-mean", "mean", SeriesShape::Line, mean),
        ],
    }
}

fn wait_panel(record: &GateRecord) -> ChartPanel {
    let longest = record.waits().max().unwrap_or_default();
    let (y_label, unit) =
        if longest >= Duration::from_secs(2) { ("wait, s", 1.0) } else { ("wait, ms", 1e3) };
    let quantile = |numerator| {
        per_slice(record, move |slice| {
            slice.waits.quantile(numerator, 100).map(|wait| wait.as_secs_f64() * unit)
        })
    };
    ChartPanel {
        y_label,
        min_tick: 0.0,
        series: vec![
            ChartSeries::new("p99", "p99", SeriesShape::Line, quantile(99)),
            ChartSeries::new("p90", "p90", SeriesShape::Line, quantile(90)),
            ChartSeries::new("p50", "p50", SeriesShape::Line, quantile(50)),
        ],
    }
}

/// Returns a point in the middle of each slice, or a gap where the slice has no value.
pub(super) fn per_slice(
    record: &GateRecord,
    value: impl Fn(&TimeSlice) -> Option<f64>,
) -> Vec<Option<ChartPoint>> {
    let width = record.slice.as_secs_f64();
    let slices = record.slices.iter().enumerate();
    slices
        .map(|(index, slice)| value(slice).map(|y| ChartPoint { x: (index as f64 + 0.5) * width, y }))
        .collect()
}

/// Returns the limit as steps: two points at the time of each change.
fn limit_steps(record: &GateRecord, length: Duration) -> Vec<Option<ChartPoint>> {
    let mut points = Vec::new();
    let mut previous = None;
    for (since, limit) in &record.limits {
        let x = since.as_secs_f64();
        points.extend(previous.map(|y| Some(ChartPoint { x, y })));
        let y = f64::from(*limit);
        points.push(Some(ChartPoint { x, y }));
        previous = Some(y);
    }
    points.extend(previous.map(|y| Some(ChartPoint { x: length.as_secs_f64(), y })));
    points
}

pub(super) const USE_HEIGHT: f64 = 150.0;
const QUEUE_HEIGHT: f64 = 90.0;
pub(super) const WAIT_HEIGHT: f64 = 120.0;
