//! The holders of a running process, from the diagnosis that it has written to a file.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::history::RowUpdate;
use crate::output;

/// One gate of the file that a process writes: `Governor::diagnose` as JSON.
struct WrittenGate {
    gate: String,
    limit: u64,
    in_use: u64,
    waiting: u64,
    paused: bool,
    tracked: bool,
    holders: Vec<WrittenHolders>,
}

/// Holders at one place in the source.
struct WrittenHolders {
    label: Option<String>,
    location: String,
    state: String,
    permits: u64,
    /// In seconds.
    oldest: f64,
}

/// Returns a row for each of the gates with the most requests waiting, of those that track their holders.
///
/// # Errors
///
/// [`DiagnosisError`] if the file cannot be read, or has no diagnosis.
pub(super) fn read(path: &Path) -> Result<Vec<RowUpdate>, DiagnosisError> {
    let text =
        fs::read_to_string(path).map_err(|error| DiagnosisError::Unreadable { path: path.into(), error })?;
    let written: Value =
        serde_json::from_str(&text).map_err(|error| DiagnosisError::NoJson { path: path.into(), error })?;
    let gates: Option<Vec<WrittenGate>> =
        written["gates"].as_array().and_then(|gates| gates.iter().map(parse_gate).collect());
    let Some(mut gates) = gates else { return Err(DiagnosisError::Invalid { path: path.into() }) };
    gates.retain(|gate| gate.tracked);
    gates.sort_by_key(|gate| Reverse((gate.waiting, gate.in_use))); // a stable sort: otherwise in the order of the plan
    gates.truncate(MAX_GATES);
    Ok(gates.iter().map(row).collect())
}

/// Returns `None` if a field is missing or has another type.
fn parse_gate(gate: &Value) -> Option<WrittenGate> {
    Some(WrittenGate {
        gate: gate["gate"].as_str()?.to_owned(),
        limit: gate["limit"].as_u64()?,
        in_use: gate["in_use"].as_u64()?,
        waiting: gate["waiting"].as_u64()?,
        paused: gate["paused"].as_bool()?,
        tracked: gate["tracked"].as_bool()?,
        holders: gate["holders"].as_array()?.iter().map(parse_holders).collect::<Option<_>>()?,
    })
}

fn parse_holders(holders: &Value) -> Option<WrittenHolders> {
    Some(WrittenHolders {
        label: holders["label"].as_str().map(str::to_owned),
        location: holders["location"].as_str()?.to_owned(),
        state: holders["state"].as_str()?.to_owned(),
        permits: holders["permits"].as_u64()?,
        oldest: holders["oldest"].as_f64()?,
    })
}

fn row(gate: &WrittenGate) -> RowUpdate {
    let WrittenGate { gate: name, limit, in_use, waiting, paused, holders, .. } = gate;
    let paused = if *paused { ", paused" } else { "" };
    let mut details: Vec<String> = holders.iter().take(MAX_HOLDERS).map(format_holders).collect();
    if let Some(more @ 1..) = holders.len().checked_sub(MAX_HOLDERS) {
        details.push(format!("{more} more"));
    }
    RowUpdate {
        name: output::single_line(name),
        level: 0,
        value: format!("{in_use} of {limit}, {waiting} wait{paused}"),
        details: details.join("; "),
        number: Some(*in_use),
        is_volatile: true,
        reason: None,
    }
}

/// Formats holders, such as `2 for "upload" at src/main.rs:3:9 since 12s`.
fn format_holders(holders: &WrittenHolders) -> String {
    let WrittenHolders { label, location, state, permits, oldest } = holders;
    let label = label.as_ref().map(|label| format!(" for {label:?}")).unwrap_or_default();
    let state = if state == "held" { String::new() } else { format!(" {}", state.replace('_', " ")) };
    let oldest = Duration::try_from_secs_f64(oldest.trunc()).unwrap_or_default();
    let oldest = humantime::format_duration(oldest);
    output::single_line(&format!("{permits}{state}{label} at {location} since {oldest}"))
}

/// A diagnosis could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiagnosisError {
    #[error("cannot read the diagnosis {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{} has no JSON (expected: `Governor::diagnose` as JSON): {error}", path.display())]
    NoJson { path: PathBuf, error: serde_json::Error },
    #[error("{} has no diagnosis (expected: `Governor::diagnose` as JSON)", path.display())]
    Invalid { path: PathBuf },
}

/// More would push the changes from the screen.
const MAX_GATES: usize = 5;
const MAX_HOLDERS: usize = 3;
