//! What `fleet` prints.

use std::time::Duration;

use concurrency_governor::fleet::{HolderStatus, LedgerStatus, LimitVersion};
use serde_json::{Map, Value, json};

use crate::output::{Alignment, TableCell, TextTable, format_learning, single_line};

/// Renders a table of gates, each with its status or the reason why it cannot be read.
pub(super) fn gates(ledger: &str, gates: &[(String, Result<LedgerStatus, String>)]) -> String {
    let heading = format!("ledger  {ledger}\n\n");
    if gates.is_empty() {
        return heading + "It has no gates: no process has reported yet.\n";
    }
    let mut table = TextTable::new(&[
        ("GATE", Alignment::Left),
        ("LIMIT", Alignment::Right),
        ("GRANTED", Alignment::Right),
        ("PROCESSES", Alignment::Right),
        ("STATE", Alignment::Left),
        ("SET BY", Alignment::Left),
    ]);
    for (gate, status) in gates {
        let status = match status {
            Ok(status) => status,
            Err(problem) => {
                let [limit, granted, processes, state] = ["", "", "", "unreadable"].map(TableCell::new);
                table.row([TableCell::new(gate), limit, granted, processes, state, TableCell::new(problem)]);
                continue;
            }
        };
        table.row([
            TableCell::new(gate),
            TableCell::new(limit_text(status)),
            TableCell::new(status.granted.to_string()),
            TableCell::new(status.holders.len().to_string()),
            TableCell::new(state_text(status)),
            TableCell::new(origin_text(status)),
        ]);
    }
    heading + &table.render()
}

/// Renders one gate with its processes.
pub(super) fn gate(ledger: &str, gate: &str, status: &LedgerStatus) -> String {
    let version = status.limit.map_or(0, |limit| limit.version);
    let lines = [
        ("ledger", ledger.to_owned()),
        ("gate", gate.to_owned()),
        ("limit", format!("{}, set by {} (version {version})", limit_text(status), origin_text(status))),
        ("granted", format!("{} to {} processes", status.granted, status.holders.len())),
        ("state", state_text(status)),
        ("epoch", status.epoch.to_string()),
        ("exchanges", status.exchanges.to_string()),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<9}  {}\n", single_line(&value)));
    let mut text = lines.concat();
    if status.holders.is_empty() {
        return text;
    }
    let mut table = TextTable::new(&[
        ("PROCESS", Alignment::Left),
        ("GRANTED", Alignment::Right),
        ("RESERVED", Alignment::Right),
        ("WANTS", Alignment::Right),
        ("EXPIRES IN", Alignment::Right),
    ]);
    for holder in &status.holders {
        table.row([
            TableCell::new(&holder.holder),
            TableCell::new(holder.granted.to_string()),
            TableCell::new(holder.reserved.to_string()),
            TableCell::new(holder.wants.to_string()),
            TableCell::new(format_millis(holder.expires_ms)),
        ]);
    }
    text.push('\n');
    text + &table.render()
}

/// Renders one object, which docs/fleet-status.schema.json describes: the `version` of the format, the `ledger`, and the `gates` by name. A
/// gate that cannot be read has a `problem`. Times are in milliseconds.
pub(super) fn json(ledger: &str, gates: &[(String, Result<LedgerStatus, String>)]) -> String {
    let gates: Map<_, _> = gates.iter().map(|(gate, status)| (gate.clone(), value(status))).collect();
    let report = json!({ "version": VERSION, "ledger": ledger, "gates": gates });
    format!("{report:#}\n")
}

/// Renders what `set-limit` has done.
pub(super) fn new_limit(gate: &str, before: &LedgerStatus, set: LimitVersion, by: &str) -> String {
    let line = format!(
        "the limit of {gate} is {}, set by {by} (version {}); it was {}",
        set.limit,
        set.version,
        limit_text(before),
    );
    single_line(&line) + "\n"
}

fn value(status: &Result<LedgerStatus, String>) -> Value {
    match status {
        Ok(status) => status_value(status),
        Err(problem) => json!({ "problem": problem }),
    }
}

fn status_value(status: &LedgerStatus) -> Value {
    json!({
        "limit": status.limit.map(|limit| limit.limit.get()),
        "limit_version": status.limit.map(|limit| limit.version),
        "set_by": Some(&status.set_by).filter(|by| !by.is_empty()),
        "granted": status.granted,
        "learning_ms": status.learning_ms,
        "epoch": status.epoch,
        "exchanges": status.exchanges,
        "processes": status.holders.iter().map(holder_value).collect::<Vec<_>>(),
    })
}

fn holder_value(holder: &HolderStatus) -> Value {
    json!({
        "name": holder.holder,
        "granted": holder.granted,
        "reserved": holder.reserved,
        "wants": holder.wants,
        "exchange": holder.seq,
        "expires_in_ms": holder.expires_ms,
        "is_short": holder.short_since > 0,
    })
}

fn limit_text(status: &LedgerStatus) -> String {
    status.limit.map_or_else(|| "none".to_owned(), |limit| limit.limit.to_string())
}

fn origin_text(status: &LedgerStatus) -> &str {
    if status.set_by.is_empty() { "the processes" } else { &status.set_by }
}

fn state_text(status: &LedgerStatus) -> String {
    match status.learning_ms {
        0 => "ready".to_owned(),
        millis => format_learning(Duration::from_millis(millis)),
    }
}

fn format_millis(millis: u64) -> String {
    format!("{:.1} s", Duration::from_millis(millis).as_secs_f64())
}

/// The version of the JSON.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use concurrency_governor::Limit;

    use super::*;

    /// A gate with two processes, in which each number is another one.
    fn status() -> LedgerStatus {
        let holder = |holder: &str, first: u64, short_since| HolderStatus {
            holder: holder.to_owned(),
            granted: first,
            reserved: first.saturating_add(1),
            wants: 40,
            seq: first.saturating_add(2),
            expires_ms: first.saturating_mul(100),
            short_since,
        };
        LedgerStatus {
            epoch: 11,
            limit: Some(LimitVersion { limit: Limit::new(24), version: 3 }),
            set_by: "ops".to_owned(),
            learning_ms: 0,
            exchanges: 13,
            granted: 17,
            holders: vec![holder("a", 5, 0), holder("b", 9, 12)],
        }
    }

    /// Each number stands in its own column, and in its own field of the JSON.
    #[test]
    fn no_number_is_swapped() {
        // Without the style of the headings.
        let words = |text: &str| -> Vec<Vec<String>> {
            let text = text.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let text = words(&gate("memory", "prod/io", &status()));
        let expected = [
            "ledger memory",
            "gate prod/io",
            "limit 24, set by ops (version 3)",
            "granted 17 to 2 processes",
            "state ready",
            "epoch 11",
            "exchanges 13",
            "",
            "PROCESS GRANTED RESERVED WANTS EXPIRES IN",
            "a 5 6 40 0.5 s",
            "b 9 10 40 0.9 s",
        ];
        assert_eq!(text, words(&expected.join("\n")));
        let all = gates("memory", &[("prod/io".to_owned(), Ok(status()))]);
        assert_eq!(words(&all).pop(), words("prod/io 24 17 2 ready ops").pop());

        // docs/fleet-status.schema.json describes this report.
        let expected: Value =
            serde_json::from_str(include_str!("../../../../tests/cli/fleet_status.json")).unwrap();
        let read = [
            ("prod/io".to_owned(), Ok(status())),
            ("prod/db".to_owned(), Err("the server is down".to_owned())),
        ];
        let printed: Value = serde_json::from_str(&json("redis://127.0.0.1:6379", &read)).unwrap();
        assert_eq!(printed, expected);
        let learning = LedgerStatus { learning_ms: 2500, ..status() };
        assert_eq!(status_value(&learning)["learning_ms"], 2500);
        assert!(state_text(&learning).starts_with("learning for "), "{}", state_text(&learning));
    }
}
