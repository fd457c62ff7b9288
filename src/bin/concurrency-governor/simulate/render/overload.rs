//! The result of a comparison of queue orders, as tables and as a chart.

use std::time::Duration;

use super::chart::{ChartWidth, USE_HEIGHT, WAIT_HEIGHT, per_slice};
use super::summary::SummaryRows;
use super::svg::{ChartPanel, ChartPoint, ChartSeries, SeriesShape, SvgCanvas};
use crate::simulate::overload::{
    ATTEMPT_ENDS, ClientSlice, DeadlinePropagation, OrderRecord, OverloadSimulation, QueueOrder, RetryHints,
    percentile,
};

/// Describes the gate and the clients, as labels with their texts.
pub(in crate::simulate) fn overload_setup(simulation: &OverloadSimulation) -> [(&'static str, String); 2] {
    let OverloadSimulation { server, shed, clients, .. } = simulation;
    let text = humantime::format_duration;
    let queue = server.queue.map_or("unbounded".to_owned(), |bound| bound.to_string());
    let max_wait = server.max_wait.map_or(String::new(), |wait| format!(", max_wait {}", text(wait)));
    let gate = format!(
        "limit {}, queue {queue}{max_wait}: it serves {:.1} requests a second; shedding after {}",
        server.limit,
        simulation.capacity(),
        text(shed.target())
    );
    let attempts = match clients.attempts {
        1 => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    let known = match clients.deadlines {
        DeadlinePropagation::Known => "known to the server",
        DeadlinePropagation::Unknown => "not known to the server",
    };
    let hints = match clients.hints {
        RetryHints::Followed => "",
        RetryHints::Ignored => "; they ignore the retry time",
    };
    let clients = format!("{attempts}, timeout {} ({known}){hints}", text(clients.timeout));
    [("gate", gate), ("clients", clients)]
}

/// Returns the tables: what the clients got, how their attempts ended, and both over time.
pub(in crate::simulate) fn overload_tables(
    simulation: &OverloadSimulation,
    records: &[OrderRecord],
) -> Vec<SummaryRows> {
    vec![clients_table(simulation, records), attempts_table(records), time_table(records)]
}

/// The table of the clients. With a burst, it has the goodput during the burst, too.
fn clients_table(simulation: &OverloadSimulation, records: &[OrderRecord]) -> SummaryRows {
    let burst = simulation.schedule.burst;
    let mut numbers = vec!["clients", "answered", "gave up", "after p50", "after p99", "goodput"];
    numbers.extend(burst.map(|_| "in burst"));
    numbers.extend(["of capacity", "wait p50", "wait p99", "peak queue"]);
    let row = |record: &OrderRecord| {
        let mut row = vec![
            record.order.name().to_owned(),
            record.clients().to_string(),
            percent_cell(record.answer_times.len().try_into().unwrap_or(u64::MAX), record.clients()),
            percent_cell(record.gave_up, record.clients()),
        ];
        row.extend([50, 99].map(|percent| time_cell(&record.answer_times, percent)));
        let mut goodput = record.goodput(Duration::ZERO, simulation.length);
        row.push(format!("{goodput:.1}/s"));
        if let Some(burst) = burst {
            goodput = record.goodput(burst.from, burst.until);
            row.push(format!("{goodput:.1}/s"));
        }
        row.push(format!("{:.0} %", goodput / simulation.capacity() * 100.0));
        row.extend([50, 99].map(|percent| time_cell(&record.waits, percent)));
        row.push(record.gate.peak_waiting().to_string());
        row
    };
    SummaryRows::new("order", &numbers, records.iter().map(row).collect())
}

/// Returns the cell of a part of the clients, in percent.
#[expect(clippy::cast_precision_loss, reason = "the result is printed in tenths of a percent")]
fn percent_cell(part: u64, clients: u64) -> String {
    if clients == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 / clients as f64 * 100.0) }
}

/// Returns the cell of a percentile, in whole milliseconds, which is the resolution of the clock.
fn time_cell(sorted: &[Duration], percent: usize) -> String {
    percentile(sorted, percent).map_or("-".to_owned(), |time| format!("{} ms", time.as_millis()))
}

/// The table of the attempts: how they ended. A kind of end that no order has is left out.
fn attempts_table(records: &[OrderRecord]) -> SummaryRows {
    let occurs = |(end, _): &(_, _)| records.iter().any(|record| record.ended(*end) > 0);
    let ends: Vec<_> = ATTEMPT_ENDS.into_iter().filter(occurs).collect();
    let row = |record: &OrderRecord| {
        let counts = ends.iter().map(|(end, _)| record.ended(*end));
        let numbers =
            [record.gate.totals.arrived].into_iter().chain(counts).chain([record.gate.pending().into()]);
        [record.order.name().to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    };
    let headings =
        ["attempts"].into_iter().chain(ends.iter().map(|(_, heading)| *heading)).chain(["pending"]);
    SummaryRows::new("order", &headings.collect::<Vec<_>>(), records.iter().map(row).collect())
}

/// The table over time: the clients that arrive, and the goodput and the mean queue of each order.
fn time_table(records: &[OrderRecord]) -> SummaryRows {
    let mut numbers = vec!["clients/s"];
    numbers.extend(records.iter().map(|record| match record.order {
        QueueOrder::OldestFirst => "goodput oldest",
        QueueOrder::NewestFirst => "goodput newest",
        QueueOrder::Shedding(_) => "goodput shedding",
    }));
    numbers.extend(records.iter().map(|record| match record.order {
        QueueOrder::OldestFirst => "queue oldest",
        QueueOrder::NewestFirst => "queue newest",
        QueueOrder::Shedding(_) => "queue shedding",
    }));
    let Some(first) = records.first() else { return SummaryRows::new("time", &numbers, Vec::new()) };
    let slices = first.slices.len();
    let row = |start: usize| {
        let part = start..start.saturating_add(SLICES_OF_ROW).min(slices);
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            values.sum::<f64>() / f64::from(u32::try_from(part.len()).unwrap_or(u32::MAX))
        };
        let rate = |record: &OrderRecord, count: fn(&ClientSlice) -> u32| {
            let counts = record.slices.get(part.clone()).unwrap_or_default();
            mean(&mut counts.iter().map(|slice| f64::from(count(slice)) / record.gate.slice.as_secs_f64()))
        };
        let queue = |record: &OrderRecord| {
            let slices = record.gate.slices.get(part.clone()).unwrap_or_default();
            mean(&mut slices.iter().map(|slice| slice.waiting.mean(record.gate.slice)))
        };
        let at = first.gate.slice.saturating_mul(u32::try_from(start).unwrap_or(u32::MAX));
        let mut row = vec![
            humantime::format_duration(Duration::from_millis(at.as_millis().try_into().unwrap_or(u64::MAX)))
                .to_string(),
            format!("{:.1}", rate(first, |slice| slice.arrived)),
        ];
        row.extend(records.iter().map(|record| format!("{:.1}", rate(record, |slice| slice.answered))));
        row.extend(records.iter().map(|record| format!("{:.1}", queue(record))));
        row
    };
    SummaryRows::new("time", &numbers, (0..slices).step_by(SLICES_OF_ROW).map(row).collect())
}

/// Renders one SVG image with three panels, each with a curve for each order: goodput, requests waiting, and waits.
pub(in crate::simulate) fn overload_chart(
    title: &str,
    simulation: &OverloadSimulation,
    records: &[OrderRecord],
    width: ChartWidth,
) -> String {
    let mut canvas = SvgCanvas::new(title, width.pixels());
    canvas.heading(&format!("gate {}", simulation.server.gate));
    let seconds = simulation.length.as_secs_f64();
    let series = |points: &dyn Fn(&OrderRecord) -> Vec<Option<ChartPoint>>| {
        let curve = |record: &OrderRecord| {
            let class = match record.order {
                QueueOrder::OldestFirst => "order-oldest",
                QueueOrder::NewestFirst => "order-newest",
                QueueOrder::Shedding(_) => "order-shedding",
            };
            ChartSeries::new(class, record.order.name(), SeriesShape::Line, points(record))
        };
        records.iter().map(curve).collect::<Vec<_>>()
    };
    let goodput = ChartPanel { y_label: "goodput, 1/s", min_tick: 0.0, series: series(&goodput_points) };
    let queue = ChartPanel {
        y_label: "requests waiting",
        min_tick: 1.0,
        series: series(&|record| {
            per_slice(&record.gate, |slice| Some(slice.waiting.mean(record.gate.slice)))
        }),
    };
    let waits = ChartPanel {
        y_label: "wait p99, s",
        min_tick: 0.0,
        series: series(&|record| {
            per_slice(&record.gate, |slice| slice.waits.quantile(99, 100).map(|wait| wait.as_secs_f64()))
        }),
    };
    canvas.panel(USE_HEIGHT, seconds, &goodput);
    canvas.panel(WAIT_HEIGHT, seconds, &queue);
    canvas.panel(WAIT_HEIGHT, seconds, &waits);
    canvas.finish()
}

/// Returns the answers per second, each point for a few slices: one slice has few answers.
fn goodput_points(record: &OrderRecord) -> Vec<Option<ChartPoint>> {
    let slice = record.gate.slice.as_secs_f64();
    let points = record.slices.chunks(SLICES_OF_POINT).scan(0.0, |from, slices| {
        let length = slice * f64::from(u32::try_from(slices.len()).unwrap_or(u32::MAX));
        let answered: f64 = slices.iter().map(|slice| f64::from(slice.answered)).sum();
        let point = ChartPoint { x: *from + length / 2.0, y: answered / length };
        *from += length;
        Some(Some(point))
    });
    points.collect()
}

/// The number of slices in a row of the table: it has 12 rows.
const SLICES_OF_ROW: usize = 20;

/// The number of slices in a point of the curve of the goodput: it has 60 points.
const SLICES_OF_POINT: usize = 4;
