//! What is said at the end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::Engine;
use crate::load::Outcomes;

/// What became of the requests, of the gates and of the pool, as text.
pub fn render(engine: &Engine, outcomes: &Outcomes) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} requests in {:.2?}: {} completed, {} trapped, {} failed",
        outcomes.requested,
        outcomes.took,
        outcomes.completed,
        outcomes.trapped,
        outcomes.failed.values().sum::<usize>(),
    );
    for (reason, times) in &outcomes.failed {
        let _ = writeln!(text, "  failed {times} times: {reason}");
    }
    text.push('\n');
    text.push_str(&gates(engine));
    text.push('\n');
    text.push_str(&pool(engine));
    text.push('\n');
    for decision in engine.decisions() {
        let _ = writeln!(text, "{decision}");
    }
    text
}

fn gates(engine: &Engine) -> String {
    let mut rows = vec![["gate", "limit", "peak in use", "waited", "p50", "p99", "shed"].map(String::from)];
    for (gate, peak) in engine.gates() {
        let status = gate.status();
        let queue = status.totals.queue;
        let shed = status.totals.rejected.sum() + queue.expired + queue.too_large + queue.closed;
        rows.push([
            status.name.to_string(),
            status.limit.to_string(),
            peak.most().to_string(),
            queue.enqueued.to_string(),
            duration(status.waits.quantile(50, 100)),
            duration(status.waits.quantile(99, 100)),
            shed.to_string(),
        ]);
    }
    aligned(&rows)
}

fn pool(engine: &Engine) -> String {
    let status = engine.pool.status();
    let totals = status.totals;
    let figures = [
        ("created", totals.created.to_string()),
        ("reused", totals.reused.to_string()),
        ("evicted", totals.evicted.to_string()),
        (
            "discarded",
            format!("{} ({} of them by a trap)", totals.discarded.sum(), totals.discarded.incomplete),
        ),
        ("most alive", engine.host.alive.most().to_string()),
        ("idle", status.idle.to_string()),
        ("create p99", duration(status.creates.quantile(99, 100))),
    ];
    let mut text = "pool of instances\n".to_owned();
    for (name, figure) in figures {
        let _ = writeln!(text, "{name:<10}  {figure}");
    }
    text
}

fn duration(wait: Option<Duration>) -> String {
    wait.map_or_else(|| "-".to_owned(), |wait| format!("{wait:.1?}"))
}

/// The first column to the left, the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
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
