//! The report at the end of a run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::Engine;
use crate::load::LoadReport;

/// Renders the outcomes of the requests, the gates, the pool, and what decided each limit.
pub fn render(engine: &Engine, report: &LoadReport) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} requests in {:.2?}: {} completed, {} trapped, {} failed",
        report.requested,
        report.duration,
        report.completed,
        report.trapped,
        report.failed.values().sum::<usize>(),
    );
    for (reason, times) in &report.failed {
        let _ = writeln!(text, "  failed {times} times: {reason}");
    }
    text.push('\n');
    text.push_str(&render_gates(engine));
    text.push('\n');
    text.push_str(&render_pool(engine));
    text.push('\n');
    for decision in engine.decisions() {
        let _ = writeln!(text, "{decision}");
    }
    text
}

fn render_gates(engine: &Engine) -> String {
    let mut rows =
        vec![["gate", "limit", "peak in use", "enqueued", "p50", "p99", "rejected"].map(String::from)];
    for (gate, peak) in engine.gates() {
        let status = gate.status();
        let queue = status.totals.queue;
        let rejected = status.totals.rejected.sum() + queue.expired + queue.too_large + queue.closed;
        rows.push([
            status.name.to_string(),
            status.limit.to_string(),
            peak.highest().to_string(),
            queue.enqueued.to_string(),
            render_wait(status.waits.quantile(50, 100)),
            render_wait(status.waits.quantile(99, 100)),
            rejected.to_string(),
        ]);
    }
    align_columns(&rows)
}

fn render_pool(engine: &Engine) -> String {
    let status = engine.pool.status();
    let totals = status.totals;
    let rows = [
        ("created", totals.created.to_string()),
        ("reused", totals.reused.to_string()),
        ("evicted", totals.evicted.to_string()),
        ("discarded", format!("{} (by a trap: {})", totals.discarded.sum(), totals.discarded.incomplete)),
        ("peak", engine.host.instances.highest().to_string()),
        ("idle", status.idle.to_string()),
        ("create p99", render_wait(status.creates.quantile(99, 100))),
    ];
    let mut text = "pool of instances\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<10}  {value}");
    }
    text
}

fn render_wait(wait: Option<Duration>) -> String {
    wait.map_or_else(|| "-".to_owned(), |wait| format!("{wait:.1?}"))
}

/// Renders rows with the first column aligned to the left, and the others to the right.
fn align_columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}", width = widths[0]),
                _ => write!(text, "  {cell:>width$}", width = widths[column]),
            };
        }
        text.push('\n');
    }
    text
}
