//! What a gate reports: totals, measured waits and `Debug` output.

use std::sync::Barrier;
use std::thread;

use concurrency_governor::gate::{Gate, Histogram};
use concurrency_governor::{Keys, Limit};

use crate::support::{
    MS, NAME, assert_idle, expect_ready, gate, paused_runtime, poll_once, spin_until, start_waiting,
    unmeasured_gate,
};

/// Every request is in the totals. Only requests that waited are in the histogram, and only if the gate
/// measures waits.
#[test]
fn totals_count_every_request() {
    for (gate, measured) in [(gate(1), 2), (unmeasured_gate(1), 0)] {
        let held = gate.try_acquire().unwrap();
        let (mut waiting, _) = start_waiting(gate.acquire());
        let (cancelled, _) = start_waiting(gate.acquire());
        let (unclaimed, _) = start_waiting(gate.acquire());
        drop(cancelled);
        drop(held);
        drop(poll_once(&mut waiting));
        drop(unclaimed);
        let status = gate.status();
        assert_eq!((status.totals.admitted, status.waits.count()), (3, measured));
        let queue = status.totals.queue;
        assert_eq!((queue.enqueued, queue.admitted, queue.abandoned, queue.cancelled), (3, 2, 1, 1));
        assert_idle(&gate);
    }
}

/// Admitted requests whose futures are not polled are in the status for as long as they hold up the queue.
#[test]
fn unclaimed_requests_are_in_the_status() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| start_waiting(gate.acquire_owned()).0).collect();
    drop(held);
    let numbers = |gate: &Gate| (gate.status().unclaimed, gate.status().waiting, gate.status().in_use);
    assert_eq!(numbers(&gate), (2, 1, 2), "two futures that are not polled hold up the third");
    let permit = poll_once(&mut waiting[0]);
    assert_eq!(numbers(&gate), (1, 1, 2));
    drop(waiting.remove(1));
    assert_eq!((numbers(&gate), gate.status().totals.queue.abandoned), ((1, 0, 2), 1));
    drop((permit, waiting));
    assert_eq!(numbers(&gate), (0, 0, 0));
    assert_idle(&gate);
}

/// The permits of a blocked thread are claimed when its call returns.
#[test]
fn a_blocked_thread_claims_its_permits() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| gate.acquire_blocking().map(|permit| (gate.status().unclaimed, permit)));
        spin_until(|| gate.status().waiting == 1);
        drop(held);
        let (unclaimed, permit) = blocked.join().unwrap().unwrap();
        assert_eq!((unclaimed, permit.weight()), (0, 1));
    });
    assert_idle(&gate);
}

/// A request that is admitted while a caller waits for the gate to be drained is counted like any other.
#[test]
fn a_request_admitted_while_the_gate_drains_is_counted() {
    let gate = gate(3);
    let held = gate.try_acquire().unwrap();
    let (_drained, _) = start_waiting(gate.drained());
    let tried = gate.try_acquire().unwrap();
    let acquired = expect_ready(gate.acquire()).unwrap();
    let totals = gate.status().totals;
    assert_eq!((totals.admitted, totals.queue.enqueued), (3, 0));
    drop((held, tried, acquired));
    assert_idle(&gate);
}

/// Each outcome of a try and each change of the limit is counted, however many threads run at once.
#[test]
fn totals_of_concurrent_threads_add_up() {
    const ROUNDS: u64 = if cfg!(miri) { 50 } else { 200_000 };
    const THREADS: usize = 3;
    let (gate, start) = (gate(8), Barrier::new(2 * THREADS));
    let try_acquire = || {
        start.wait();
        (0..ROUNDS).filter(|_| gate.try_acquire().is_ok()).count() as u64
    };
    let resize = || {
        start.wait();
        let changes = (0..ROUNDS).map(|nth| gate.resize(Limit::new(if nth % 2 == 0 { 1 } else { 8 })));
        changes.filter(|change| change.from != change.to).count() as u64
    };
    let (admitted, changed): (Vec<u64>, Vec<u64>) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| (scope.spawn(try_acquire), scope.spawn(resize))).collect();
        threads.into_iter().map(|(tries, resizes)| (tries.join().unwrap(), resizes.join().unwrap())).unzip()
    });
    let (admitted, changed): (u64, u64) = (admitted.iter().sum(), changed.iter().sum());
    let status = gate.status();
    assert_eq!((status.totals.admitted, status.resized), (admitted, changed));
    assert_eq!(status.totals.rejected.no_permits, THREADS as u64 * ROUNDS - admitted);
    assert_idle(&gate);
}

/// If more requests begin to wait at once than the gate measures, each measured wait counts for those that are left out, at a
/// gate by itself and at a key.
#[test]
fn measured_waits_represent_all_waits() {
    const WAITS: u64 = if cfg!(miri) { 2000 } else { 10_000 };
    let runtime = paused_runtime();
    let _inside = runtime.enter(); // all requests begin to wait at one instant
    let keyed = Gate::builder(NAME, Limit::new(1)).keyed(Keys::up_to(1)).build();
    for (gate, key) in [(gate(1), None), (keyed.clone(), Some(keyed.key("a")))] {
        let requested = key.as_ref().unwrap_or(&gate);
        let held = requested.try_acquire().unwrap();
        let waiting: Vec<_> = (0..WAITS).map(|_| start_waiting(requested.acquire())).collect();
        drop((held, waiting));
        let status = gate.status();
        assert_eq!(status.totals.queue.admitted, WAITS);
        assert!(status.waits.count().abs_diff(WAITS) < 512, "{} of {WAITS} waits", status.waits.count());
    }
}

/// A gate that does not measure waits records none, and still counts the requests that waited.
#[test]
fn measuring_waits_can_be_switched_off() {
    for (measures, requests) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let gate = Gate::builder(NAME, Limit::new(2)).measure_waits(measures).build();
        let held = gate.try_acquire_many(2).unwrap();
        let waiting: Vec<_> = (0..requests).map(|_| start_waiting(gate.acquire())).collect();
        drop((held, waiting));
        let status = gate.status();
        let measured = if measures { requests } else { 0 };
        assert_eq!((status.waits.count(), status.totals.queue.admitted), (measured, requests));
        assert_eq!(status.waits == Histogram::default(), !measures, "the histogram stays empty");
    }
}

/// The `Debug` output of a gate, its permits and its futures names the gate and shows their state.
#[test]
fn debug_output_names_the_gate() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let owned = gate.try_acquire_owned().unwrap();
    let (waiting, _) = start_waiting(gate.request().weight(2).acquire());
    let mut waits = Histogram::default();
    waits.record(3 * MS);
    let outputs = [
        (format!("{gate:?}"), vec!["Gate", "GateName(test)", "limit: Limit(2)", "in_use: 2", "waiting: 1"]),
        (format!("{:?}", gate.acquire()), vec!["Acquire", "GateName(test)", "weight: 1", "state: Idle"]),
        (format!("{waiting:?}"), vec!["Acquire", "GateName(test)", "weight: 2", "state: Waiting"]),
        (format!("{:?}", gate.drained()), vec!["Drained", "GateName(test)"]),
        (format!("{held:?}"), vec!["Permit", "GateName(test)", "weight: 1"]),
        (format!("{owned:?}"), vec!["OwnedPermit", "GateName(test)", "weight: 1"]),
        (format!("{waits:?}"), vec!["Histogram", "count: 1", "max: Some(3ms)"]),
    ];
    for (output, parts) in outputs {
        assert!(parts.iter().all(|part| output.contains(part)), "{output}");
    }
}
