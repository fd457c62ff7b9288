//! Waiting for the end.

use std::sync::Arc;

use crate::support::{gate, now, peek, poll, wait};

/// An idle gate is drained; a busy one is when the last permit is back and nobody waits.
#[test]
fn drained_when_nothing_is_out_and_nobody_waits() {
    let gate = gate(1);
    now(gate.drained());
    let held = gate.try_acquire().unwrap();
    let (granted, _) = wait(gate.acquire());
    let (mut first, first_flag) = wait(gate.drained());
    let (mut second, second_flag) = wait(gate.drained());
    drop(held);
    assert_eq!(first_flag.woken(), 0, "granted is out");
    drop(granted);
    assert_eq!((first_flag.woken(), second_flag.woken()), (1, 1));

    let _busy_again = gate.try_acquire().unwrap();
    assert!(peek(&mut first).is_ready() && peek(&mut second).is_ready(), "it has been drained since");
    assert!(peek(&mut Box::pin(gate.drained())).is_pending());
}

/// A closed gate drains once its holders are done; whoever waited does not keep it.
#[test]
fn closing_then_draining_ends() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (_waiting, _) = wait(gate.acquire());
    let (mut drained, flag) = wait(gate.drained());
    gate.close();
    assert_eq!(flag.woken(), 0);
    drop(held);
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut drained).is_ready());
}

/// Its latest waker is woken, no other is kept, and dropping it keeps none.
#[test]
fn drained_keeps_only_its_latest_waker() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut drained, first) = wait(gate.drained());
    let (dropped, third) = wait(gate.drained());
    let second = Arc::default();
    assert!(poll(&mut drained, &second).is_pending());
    drop(dropped);
    assert_eq!([&first, &second, &third].map(Arc::strong_count), [1, 2, 1]);
    drop(held);
    assert_eq!([&first, &second, &third].map(|flag| flag.woken()), [0, 1, 0]);
    assert_eq!(Arc::strong_count(&second), 1);
}
