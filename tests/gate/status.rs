//! What gates tell of themselves.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Gate, Histogram};

use crate::support::{NAME, gate, wait};

/// A gate that is told to measure no waits records none, of one alone or of several together, and counts all the same.
#[test]
fn a_gate_may_measure_no_waits() {
    for (measures, requests) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let gate = Gate::builder(NAME, Limit::new(2)).measure_waits(measures).build();
        let held = gate.try_acquire_many(2).unwrap();
        let waiting: Vec<_> = (0..requests).map(|_| wait(gate.acquire())).collect();
        drop((held, waiting));
        let status = gate.status();
        let measured = if measures { requests } else { 0 };
        assert_eq!((status.waits.count(), status.totals.queue.admitted), (measured, requests));
        assert_eq!(status.waits == Histogram::default(), !measures, "no trace of it");
    }
}

/// What is printed of a gate and of what comes from it names the gate and says how things stand.
#[test]
fn what_is_printed_names_the_gate() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let owned = gate.try_acquire_owned().unwrap();
    let (waiting, _) = wait(gate.request().weight(2).acquire());
    let mut waits = Histogram::default();
    waits.record(Duration::from_millis(3));
    let told = [
        (format!("{gate:?}"), vec!["Gate", "GateName(test)", "limit: Limit(2)", "in_use: 2", "waiting: 1"]),
        (format!("{:?}", gate.acquire()), vec!["Acquire", "GateName(test)", "weight: 1", "stage: New"]),
        (format!("{waiting:?}"), vec!["Acquire", "GateName(test)", "weight: 2", "stage: Joined"]),
        (format!("{:?}", gate.drained()), vec!["Drained", "GateName(test)"]),
        (format!("{held:?}"), vec!["Permit", "GateName(test)", "weight: 1"]),
        (format!("{owned:?}"), vec!["OwnedPermit", "GateName(test)", "weight: 1"]),
        (format!("{waits:?}"), vec!["Histogram", "count: 1", "max: Some(3ms)"]),
    ];
    for (text, parts) in told {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
