//! What came of a simulation, as a table.

use anstyle::Style;

use super::record::Record;
use crate::columns::{Cell, Columns, Side};

/// One row a gate.
pub(crate) fn table(records: &[Record]) -> String {
    let mut columns = Columns::new([
        ("gate", Side::Left),
        ("limit", Side::Right),
        ("arrived", Side::Right),
        ("done", Side::Right),
        ("shed", Side::Right),
        ("left", Side::Right),
        ("busy", Side::Right),
        ("peak", Side::Right),
        ("line", Side::Right),
        ("waits: p50", Side::Right),
        ("p99", Side::Right),
        ("longest", Side::Right),
    ]);
    for record in records {
        let waits = record.waits();
        let wait = |wait: Option<std::time::Duration>| {
            Cell::new(
                wait.map_or_else(|| "-".to_owned(), |wait| format!("{:.1} ms", wait.as_secs_f64() * 1e3)),
            )
        };
        let (at_work, waiting) = record.left();
        columns.row([
            Cell::styled(record.gate.as_str(), Style::new().bold()),
            Cell::new(limits(record)),
            Cell::new(record.totals.arrived.to_string()),
            Cell::new(record.totals.completed.to_string()),
            Cell::new(record.totals.shed().to_string()),
            Cell::new(at_work.saturating_add(waiting).to_string()),
            Cell::new(format!("{:.0} %", busy(record))),
            Cell::new(record.peak().to_string()),
            Cell::new(record.longest_line().to_string()),
            wait(waits.quantile(50, 100)),
            wait(waits.quantile(99, 100)),
            wait(waits.max()),
        ]);
    }
    columns.render()
}

/// Each limit that held, in order.
fn limits(record: &Record) -> String {
    let limits: Vec<String> = record.limits.iter().map(|(_, limit)| limit.to_string()).collect();
    match &limits[..] {
        [first, .., last] if limits.len() > MOST_LIMITS => format!("{first} .. {last}"),
        limits => limits.join(" > "),
    }
}

/// The share of the limit that was at work, on average.
#[expect(clippy::cast_precision_loss, reason = "it is printed in whole percent")]
fn busy(record: &Record) -> f64 {
    let limits = (0..record.slices.len()).map(|at| {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        f64::from(record.limit_at(record.slice.saturating_mul(at)))
    });
    let mean = limits.sum::<f64>() / record.slices.len().max(1) as f64;
    if mean > 0.0 { record.mean_in_flight() / mean * 100.0 } else { 0.0 }
}

/// A table has to stay a table.
const MOST_LIMITS: usize = 3;
