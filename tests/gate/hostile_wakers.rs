//! Wakers that panic or own a permit, as `std::task::Wake` can write them. Those that do so in their `clone` too stand in
//! `wakers.rs`, and those that come back to the gate in `reentry.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use concurrency_governor::Limit;
use concurrency_governor::gate::OwnedPermit;

use crate::support::{Flag, assert_at_rest, gate, peek, poll, poll_by, wait, within_a_minute};

/// A waker that does something when it is woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> OnWake<F> {
    fn waker(act: F) -> Waker {
        Arc::new(Self(act)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A waker that does something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn() + Send + Sync + 'static> OnDrop<F> {
    fn waker(act: F) -> Waker {
        Arc::new(Self(act)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for OnDrop<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A waker that holds a permit.
struct Owning {
    _permit: OwnedPermit,
}

impl Owning {
    fn waker(permit: OwnedPermit) -> Waker {
        Arc::new(Self { _permit: permit }).into()
    }
}

impl Wake for Owning {
    fn wake(self: Arc<Self>) {}
}

/// A waker may own a permit of the gate that wakes or drops it.
#[test]
fn wakers_may_own_permits_of_their_gate() {
    within_a_minute("permits owned by wakers", || {
        let gate = gate(2);
        let (one, two) = (gate.try_acquire_owned().unwrap(), gate.try_acquire_owned().unwrap());
        let mut waiting = Box::pin(gate.acquire());
        assert!(poll_by(&mut waiting, &Owning::waker(one)).is_pending());
        assert!(peek(&mut waiting).is_ready(), "the replaced waker's permit came back");

        let mut heavy = Box::pin(gate.acquire_many(2));
        assert!(poll_by(&mut heavy, &Owning::waker(two)).is_pending());
        drop(heavy);
        assert_at_rest(&gate);
    });
}

/// A panic in one waker keeps no other from being woken, and comes out where the waking was done.
#[test]
fn a_panicking_waker_loses_nobody() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut before, before_flag) = wait(gate.acquire());
    let mut panicking = [gate.acquire(), gate.acquire()].map(Box::pin);
    for (number, future) in panicking.iter_mut().enumerate() {
        let waker = OnWake::waker(move || panic!("waker {number}"));
        assert!(poll_by(future, &waker).is_pending());
    }
    let (mut after, after_flag) = wait(gate.acquire());
    let panic = catch_unwind(AssertUnwindSafe(|| gate.resize(Limit::new(5)))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "waker 0", "the first of two");
    assert_eq!((before_flag.woken(), after_flag.woken()), (1, 1));
    assert_eq!(gate.limit(), Limit::new(5));
    assert!(peek(&mut before).is_ready() && peek(&mut after).is_ready());
    assert!(panicking.iter_mut().all(|future| peek(future).is_ready()));
    drop(held);
    assert_at_rest(&gate);
}

/// A permit dropped by a panic does not turn a panicking waker into an abort.
#[test]
fn a_panicking_waker_under_a_panic_is_held_back() {
    let gate = gate(1);
    let mut waiting = Box::pin(gate.acquire());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _held = gate.try_acquire().unwrap();
        assert!(poll_by(&mut waiting, &OnWake::waker(|| panic!("in the waker"))).is_pending());
        panic!("in the work");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in the work"));
    assert!(peek(&mut waiting).is_ready());
    assert_at_rest(&gate);
}

/// A waker that panics when it is dropped costs the request that replaced it nothing, and leaks no permit.
#[test]
fn a_waker_that_panics_when_dropped_loses_nothing() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let mut waiting = Box::pin(gate.acquire());
    assert!(poll_by(&mut waiting, &OnDrop::waker(|| panic!("dropped"))).is_pending());
    let flag = Flag::new();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut waiting, &flag))).is_err());
    assert_eq!(gate.status().waiting, 1, "it keeps its place");
    drop(held);
    assert_eq!(flag.woken(), 1, "and the new waker is the one that is woken");
    assert!(peek(&mut waiting).is_ready());
    assert_at_rest(&gate);

    let held = gate.try_acquire().unwrap();
    let mut cancelled = Box::pin(gate.acquire());
    assert!(poll_by(&mut cancelled, &OnDrop::waker(|| panic!("dropped"))).is_pending());
    let (_next, flag) = wait(gate.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(cancelled))).is_err());
    drop(held);
    assert_eq!(flag.woken(), 1);
}

/// A panic whose own payload panics when dropped does not get away with more than one.
#[test]
fn panicking_payloads_are_kept_apart() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "the payload's own");
        }
    }
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let mut waiting = [gate.acquire(), gate.acquire()].map(Box::pin);
    for future in &mut waiting {
        assert!(poll_by(future, &OnWake::waker(|| std::panic::panic_any(Bomb))).is_pending());
    }
    let (_last, flag) = wait(gate.acquire());
    let panic = catch_unwind(AssertUnwindSafe(|| gate.close())).unwrap_err();
    assert!(panic.is::<Bomb>());
    assert_eq!(flag.woken(), 1);
    std::mem::forget(panic);
}
