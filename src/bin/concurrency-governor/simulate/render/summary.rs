//! The result of a simulation as tables: of the gates, and of the tenants.

use std::iter;
use std::time::Duration;

use anstyle::Style;

use super::svg::escape_xml;
use crate::output::{Alignment, TableCell, TextTable};
use crate::simulate::record::GateRecord;

/// A table of the result: its columns, and rows of texts.
pub(crate) struct SummaryRows {
    columns: Vec<(&'static str, Alignment)>,
    rows: Vec<Vec<String>>,
}

impl SummaryRows {
    /// Creates the table with a row for each gate.
    pub(crate) fn of_gates(records: &[GateRecord]) -> Self {
        let mean_use = |record: &GateRecord| format!("{:.0} %", mean_use_percent(record));
        let rows = records.iter().map(|record| row(record, mean_use(record))).collect();
        Self::new("gate", &numbers("limit", "mean use"), rows)
    }

    /// Creates the table with a row for each tenant.
    ///
    /// The mean use is a number of permits and no percentage: what a tenant gets is compared with what other tenants get, and its
    /// cap may be the limit of the gate.
    pub(crate) fn of_tenants(records: &[GateRecord]) -> Self {
        let rows = records.iter().map(|record| row(record, format!("{:.1}", record.mean_in_use()))).collect();
        Self::new("tenant", &numbers("cap", "mean in use"), rows)
    }

    /// Creates a table whose first column has names, and whose other columns have numbers.
    pub(super) fn new(name: &'static str, numbers: &[&'static str], rows: Vec<Vec<String>>) -> Self {
        let numbers = numbers.iter().map(|heading| (*heading, Alignment::Right));
        Self { columns: iter::once((name, Alignment::Left)).chain(numbers).collect(), rows }
    }

    /// Renders the rows as a table for a terminal.
    pub(crate) fn to_text(&self) -> String {
        let mut table = TextTable::new(&self.columns);
        for row in &self.rows {
            // The first cell is the name.
            let styles = iter::once(Style::new().bold()).chain(iter::repeat(Style::new()));
            table.row(row.iter().zip(styles).map(|(cell, style)| TableCell::styled(cell, style)));
        }
        table.render()
    }

    /// Renders the rows as a table of an HTML page. Each cell has its heading, for a narrow page that shows no heading row.
    pub(crate) fn to_html(&self) -> String {
        let headings = self.columns.iter().map(|(heading, _)| format!("<th scope=\"col\">{heading}</th>"));
        let headings = headings.collect::<String>();
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row).map(|((heading, alignment), cell)| {
                let cell = escape_xml(cell);
                match alignment {
                    Alignment::Left => format!("<th scope=\"row\">{cell}</th>"),
                    Alignment::Right => format!("<td data-heading=\"{heading}\">{cell}</td>"),
                }
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        });
        format!(
            "<table class=\"summary\">\n<thead><tr>{headings}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n",
            rows.collect::<String>()
        )
    }
}

/// Returns the cells of a row. `mean_use` is the cell of that column.
fn row(record: &GateRecord, mean_use: String) -> Vec<String> {
    let waits = record.waits();
    let wait = |wait: Option<Duration>| {
        wait.map_or("-".to_owned(), |wait| format!("{:.1} ms", wait.as_secs_f64() * 1e3))
    };
    vec![
        record.name.clone(),
        limits(record),
        record.totals.arrived.to_string(),
        record.totals.completed.to_string(),
        record.totals.rejected().to_string(),
        record.pending().to_string(),
        mean_use,
        record.peak_in_use().to_string(),
        record.peak_waiting().to_string(),
        wait(waits.quantile(50, 100)),
        wait(waits.quantile(99, 100)),
        wait(waits.max()),
    ]
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

/// Returns the headings of the columns with numbers: those of the first column, and of the mean use, differ.
const fn numbers(limit: &'static str, mean_use: &'static str) -> [&'static str; 11] {
    [
        limit,
        "arrived",
        "done",
        "rejected",
        "pending",
        mean_use,
        "peak use",
        "peak queue",
        "wait p50",
        "p99",
        "max",
    ]
}

/// The number of limits in a cell. With more, the column would become too wide.
const MAX_LIMITS: usize = 3;
