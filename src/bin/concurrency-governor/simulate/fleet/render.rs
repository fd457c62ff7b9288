//! What `simulate --hosts` prints.

use std::time::Duration;

use serde_json::{Value, json};

use super::fault::FleetFault;
use super::model::{FleetModel, FleetResult};
use super::record::{FleetRecord, FleetSlice, SLICES_OF_A_SECOND};
use crate::output::{Alignment, TableCell, TextTable};

/// Renders the report for a terminal.
pub(super) fn text(model: &FleetModel, result: &FleetResult) -> String {
    let duration = humantime::format_duration;
    let record = &result.record;
    let mut lines = vec![format!("Simulation of a fleet of {} hosts", model.hosts)];
    let mut label = |label: &str, text: String| lines.push(format!("{label:<11} {text}"));
    label("limit", model.limit.to_string());
    label(
        "load",
        format!("{} requests of each host, each holds its permit for {}", model.demand, model.hold),
    );
    label(
        "lease",
        format!(
            "ttl {}, grace {}, span {}",
            duration(model.terms.ttl()),
            duration(model.terms.grace()),
            duration(model.terms.span())
        ),
    );
    label("clock", format!("simulated time, {}, seed {}", duration(model.length), model.seed));
    label(
        "in flight",
        format!("at most {} of {}{}", record.total().most, model.limit, verdict(model, record)),
    );
    label("utilisation", format!("{:.1} %", utilisation(model, record.total(), record.length()) * 100.0));
    let [lowest, mean, highest] = permits_of_hosts(result);
    label("fairness", format!("{mean:.2} permits of a host on average, from {lowest:.2} to {highest:.2}"));
    let [mean, highest] = exchanges_per_second(record);
    label("exchanges", format!("{mean:.1}/s on average, at most {highest:.0} in a second"));
    for (fault, recovery) in recoveries(model, record) {
        let recovery = match recovery {
            Some(Duration::ZERO) => "no effect on the permits in use".to_owned(),
            Some(time) => format!("recovered after {:.1} s", time.as_secs_f64()),
            None => "not recovered until the next fault or the end".to_owned(),
        };
        label("fault", format!("{fault}: {recovery}"));
    }
    lines.push(String::new());
    lines.push(table(model, record));
    lines.join("\n")
}

/// Renders twelve rows over the time.
fn table(model: &FleetModel, record: &FleetRecord) -> String {
    let right = Alignment::Right;
    let mut table = TextTable::new(&[
        ("until", right),
        ("in flight", right),
        ("at most", right),
        ("utilisation", right),
        ("exchanges", right),
    ]);
    let slices = usize::try_from(record.length().div_ceil(FleetRecord::SLICE_MS)).unwrap_or(usize::MAX);
    let slices_of_row = slices.div_ceil(ROWS);
    for (until, part, millis) in timed_parts(record, slices_of_row) {
        table.row(
            [
                format!("{:.1} s", until.as_secs_f64()),
                format!("{:.1}", mean_in_flight(part, millis)),
                part.most.to_string(),
                format!("{:.1} %", utilisation(model, part, millis) * 100.0),
                format!("{:.1}/s", per_second(part.exchanges, millis)),
            ]
            .map(TableCell::new),
        );
    }
    table.render()
}

/// Renders the report for programs. docs/simulate-hosts.schema.json describes it.
pub(super) fn json(model: &FleetModel, result: &FleetResult) -> String {
    let record = &result.record;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let [lowest, mean, highest] = permits_of_hosts(result);
    let [exchanges, most_exchanges] = exchanges_per_second(record);
    let faults = recoveries(model, record)
        .map(|(fault, recovery)| json!({ "fault": fault.to_string(), "recovery_ms": recovery.map(millis) }));
    let seconds = timed_parts(record, SLICES_OF_A_SECOND).map(|(until, part, length)| {
        json!({
            "until_ms": millis(until),
            "in_flight": mean_in_flight(part, length),
            "most_in_flight": part.most,
            "exchanges": part.exchanges,
        })
    });
    let report = json!({
        "version": VERSION,
        "hosts": model.hosts,
        "limit": model.limit.get(),
        "demand": model.demand,
        "hold": model.hold.to_string(),
        "ttl_ms": millis(model.terms.ttl()),
        "grace_ms": millis(model.terms.grace()),
        "span_ms": millis(model.terms.span()),
        "length_ms": record.length(),
        "seed": model.seed,
        "most_in_flight": record.total().most,
        "utilisation": utilisation(model, record.total(), record.length()),
        "permits_of_a_host": { "lowest": lowest, "mean": mean, "highest": highest },
        "exchanges_per_second": { "mean": exchanges, "highest": most_exchanges },
        "faults": faults.collect::<Vec<Value>>(),
        "seconds": seconds.collect::<Vec<Value>>(),
    });
    format!("{report:#}\n")
}

/// Returns the reason if more requests were in flight than the limit allows.
fn verdict(model: &FleetModel, record: &FleetRecord) -> &'static str {
    if record.total().most > model.limit.get().into() {
        ": above it, because a permit was held for longer than max_hold and a second"
    } else {
        ""
    }
}

/// Returns each fault with the time until the permits were in use again.
fn recoveries<'a>(
    model: &'a FleetModel,
    record: &'a FleetRecord,
) -> impl Iterator<Item = (FleetFault, Option<Duration>)> + 'a {
    let next = model.faults.iter().skip(1).map(|fault| Some(fault.from)).chain([None]);
    model.faults.iter().zip(next).map(|(fault, next)| (*fault, record.recovery(fault.from, next)))
}

/// Returns the parts of the run, each with its end and its length in milliseconds.
fn timed_parts(record: &FleetRecord, slices: usize) -> impl Iterator<Item = (Duration, FleetSlice, u64)> {
    let step = u64::try_from(slices).unwrap_or(u64::MAX).saturating_mul(FleetRecord::SLICE_MS);
    let end = record.length();
    let mut from: u64 = 0;
    record.parts(slices).into_iter().map(move |part| {
        let until = from.saturating_add(step).min(end);
        let length = until.saturating_sub(from);
        from = until;
        (Duration::from_millis(until), part, length)
    })
}

/// Returns the lowest, the mean and the highest number of permits of a host.
#[expect(clippy::cast_precision_loss, reason = "there are at most a million hosts")]
fn permits_of_hosts(result: &FleetResult) -> [f64; 3] {
    let permits = &result.permits;
    let sum: f64 = permits.iter().sum();
    let lowest = permits.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = permits.iter().copied().fold(0.0, f64::max);
    [lowest, sum / permits.len().max(1) as f64, highest]
}

/// Returns the mean and the largest number of exchanges in a second.
#[expect(clippy::cast_precision_loss, reason = "an exchange takes longer than a nanosecond")]
fn exchanges_per_second(record: &FleetRecord) -> [f64; 2] {
    let seconds = record.parts(SLICES_OF_A_SECOND);
    let highest = seconds.iter().map(|second| second.exchanges).max().unwrap_or(0);
    [per_second(record.total().exchanges, record.length()), highest as f64]
}

fn utilisation(model: &FleetModel, part: FleetSlice, millis: u64) -> f64 {
    mean_in_flight(part, millis) / f64::from(model.limit.get())
}

#[expect(clippy::cast_precision_loss, reason = "three digits are enough for a report")]
fn mean_in_flight(part: FleetSlice, millis: u64) -> f64 {
    part.permit_ms as f64 / millis.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "three digits are enough for a report")]
fn per_second(count: u64, millis: u64) -> f64 {
    count as f64 * 1000.0 / millis.max(1) as f64
}

/// The rows of the table.
const ROWS: usize = 12;

/// The version of the JSON.
const VERSION: u64 = 1;
