//! The result of a simulation as a table.

use std::time::Duration;

use anstyle::Style;

use crate::output::{Alignment, TableCell, TextTable};
use crate::simulate::record::GateRecord;

/// Renders one row for each gate.
pub(crate) fn summary(records: &[GateRecord]) -> String {
    let mut table = TextTable::new([
        ("gate", Alignment::Left),
        ("limit", Alignment::Right),
        ("arrived", Alignment::Right),
        ("done", Alignment::Right),
        ("rejected", Alignment::Right),
        ("pending", Alignment::Right),
        ("mean use", Alignment::Right),
        ("peak use", Alignment::Right),
        ("peak queue", Alignment::Right),
        ("wait p50", Alignment::Right),
        ("p99", Alignment::Right),
        ("max", Alignment::Right),
    ]);
    let wait = |wait: Option<Duration>| {
        TableCell::new(wait.map_or("-".to_owned(), |wait| format!("{:.1} ms", wait.as_secs_f64() * 1e3)))
    };
    for record in records {
        let waits = record.waits();
        table.row([
            TableCell::styled(record.gate.as_str(), Style::new().bold()),
            TableCell::new(limits(record)),
            TableCell::new(record.totals.arrived.to_string()),
            TableCell::new(record.totals.completed.to_string()),
            TableCell::new(record.totals.rejected().to_string()),
            TableCell::new(record.pending().to_string()),
            TableCell::new(format!("{:.0} %", mean_use_percent(record))),
            TableCell::new(record.peak_in_use().to_string()),
            TableCell::new(record.peak_waiting().to_string()),
            wait(waits.quantile(50, 100)),
            wait(waits.quantile(99, 100)),
            wait(waits.max()),
        ]);
    }
    table.render()
}

/// Lists the limits in order of time. Many limits are shortened to the first and the last.
fn limits(record: &GateRecord) -> String {
    let limits: Vec<String> = record.limits.iter().map(|(_, limit)| limit.to_string()).collect();
    match &limits[..] {
        [first, .., last] if limits.len() > MAX_LIMITS => format!("{first} .. {last}"),
        limits => limits.join(" > "),
    }
}

/// Returns the mean number of permits in use, in percent of the mean limit.
#[expect(clippy::cast_precision_loss, reason = "the result is printed in whole percent")]
fn mean_use_percent(record: &GateRecord) -> f64 {
    let limits = (0..record.slices.len()).map(|slice| {
        let slice = u32::try_from(slice).unwrap_or(u32::MAX);
        f64::from(record.limit_at(record.slice.saturating_mul(slice)))
    });
    let mean_limit = limits.sum::<f64>() / record.slices.len().max(1) as f64;
    if mean_limit > 0.0 { record.mean_in_use() / mean_limit * 100.0 } else { 0.0 }
}

/// The number of limits in a cell. With more, the column would become too wide.
const MAX_LIMITS: usize = 3;
