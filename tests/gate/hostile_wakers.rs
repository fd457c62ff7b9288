//! Wakers that panic or own permits. Wakers that call the gate are tested in `reentrant_wakers.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::{mem, thread};

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, OwnedPermit};
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    HOUR, MS, WakeCounter, assert_idle, gate, paused_runtime, poll, poll_once, poll_with, run_with_timeout,
    start_waiting, unmeasured_gate,
};

/// A waker that runs a closure when it is woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> OnWake<F> {
    fn waker(hook: F) -> Waker {
        Arc::new(Self(hook)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A waker that runs a closure when its last clone is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn() + Send + Sync + 'static> OnDrop<F> {
    fn waker(hook: F) -> Waker {
        Arc::new(Self(hook)).into()
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

/// A waker that owns a permit.
struct PermitOwner {
    _permit: OwnedPermit,
}

impl PermitOwner {
    fn waker(permit: OwnedPermit) -> Waker {
        Arc::new(Self { _permit: permit }).into()
    }
}

impl Wake for PermitOwner {
    fn wake(self: Arc<Self>) {}
}

/// Creates a waker that panics in each call of one kind.
fn panicking_waker(in_call: Call) -> Waker {
    hooked(move |call| assert!(call != in_call, "the waker panics"))
}

/// A waker may own a permit of the gate that replaces or drops it. The permit is released when the waker is
/// dropped.
#[test]
fn a_waker_may_own_a_permit_of_its_gate() {
    run_with_timeout("permits owned by wakers", || {
        let gate = gate(2);
        let (one, two) = (gate.try_acquire_owned().unwrap(), gate.try_acquire_owned().unwrap());
        let mut waiting = Box::pin(gate.acquire());
        assert!(poll_with(&mut waiting, &PermitOwner::waker(one)).is_pending());
        assert!(poll_once(&mut waiting).is_ready(), "the replaced waker released its permit");

        let mut heavy = Box::pin(gate.acquire_many(2));
        assert!(poll_with(&mut heavy, &PermitOwner::waker(two)).is_pending());
        drop(heavy);
        assert_idle(&gate);
    });
}

/// A waker that is woken may be the last owner of a permit, which then admits the next request.
#[test]
fn a_permit_owned_by_a_woken_waker_admits_the_next() {
    run_with_timeout("a permit owned by a woken waker", || {
        let gate = gate(2);
        let (held, owned) = (gate.try_acquire().unwrap(), gate.try_acquire_owned().unwrap());
        let mut first = Box::pin(gate.acquire());
        let waker = hooked(move |_| assert_eq!(owned.weight(), 1));
        assert!(poll_with(&mut first, &waker).is_pending());
        drop(waker);
        let (mut second, counter) = start_waiting(gate.acquire());
        drop(held);
        assert_eq!(counter.wakes(), 1, "admitted by the permit that the waker of the first request owned");
        assert!(matches!(poll_once(&mut second), Poll::Ready(Ok(_))));
        assert!(matches!(poll_once(&mut first), Poll::Ready(Ok(_))));
        assert_idle(&gate);
    });
}

/// A waker that panics prevents no other waker from being woken. The first panic reaches the caller of
/// `resize`.
#[test]
fn a_panicking_waker_prevents_no_other_wake() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (mut before, before_counter) = start_waiting(gate.acquire());
        let mut panicking = [gate.acquire(), gate.acquire()].map(Box::pin);
        for (number, future) in panicking.iter_mut().enumerate() {
            let waker = OnWake::waker(move || panic!("waker {number}"));
            assert!(poll_with(future, &waker).is_pending());
        }
        let (mut after, after_counter) = start_waiting(gate.acquire());
        let panic = catch_unwind(AssertUnwindSafe(|| gate.resize(Limit::new(5)))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "waker 0", "the first of two panics");
        assert_eq!((before_counter.wakes(), after_counter.wakes()), (1, 1));
        assert_eq!(gate.limit(), Limit::new(5));
        assert!(poll_once(&mut before).is_ready() && poll_once(&mut after).is_ready());
        assert!(panicking.iter_mut().all(|future| poll_once(future).is_ready()));
        drop(held);
        assert_idle(&gate);
    }
}

/// Whichever of three wakers panics, all three requests are admitted and woken, by a release or by a raised
/// limit.
#[test]
fn three_requests_are_admitted_and_woken_although_one_waker_panics() {
    for panicking in 0..3 {
        for is_raised in [false, true] {
            let gate = gate(3);
            let held = gate.try_acquire_many(3).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.acquire())).collect();
            for (nth, future) in waiting.iter_mut().enumerate() {
                let count = Arc::clone(&count);
                let waker = hooked(move |call| {
                    if call == Call::Wake {
                        count.fetch_add(1, Ordering::SeqCst);
                        assert!(nth != panicking, "the waker panics");
                    }
                });
                assert!(poll_with(future, &waker).is_pending());
            }
            let admit: Box<dyn FnOnce()> = if is_raised {
                Box::new(|| assert!(gate.resize(Limit::new(6)).debt > 0))
            } else {
                Box::new(|| drop(held))
            };
            let panic = catch_unwind(AssertUnwindSafe(admit)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"the waker panics"), "the panic reaches the caller");
            assert_eq!(count.load(Ordering::SeqCst), 3);
            assert_eq!((gate.status().in_use % 3, gate.status().waiting), (0, 0));
            assert_eq!(gate.status().totals.queue.admitted, 3);
            assert!(waiting.iter_mut().all(|future| matches!(poll_once(future), Poll::Ready(Ok(_)))));
        }
    }
}

/// When unwinding releases a permit, a panic in the woken waker is suppressed and does not abort the process.
#[test]
fn a_waker_panic_during_unwinding_does_not_abort() {
    let gate = gate(1);
    let mut waiting = Box::pin(gate.acquire());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _held = gate.try_acquire().unwrap();
        assert!(poll_with(&mut waiting, &OnWake::waker(|| panic!("in the waker"))).is_pending());
        panic!("in the work");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in the work"));
    assert!(poll_once(&mut waiting).is_ready());
    assert_idle(&gate);
}

/// A waker that panics in `clone` fails that poll only: a new request does not join the queue, and a waiting
/// request keeps its position and its earlier waker.
#[test]
fn a_waker_that_panics_in_clone_fails_one_poll() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let hostile = panicking_waker(Call::Clone);
    let mut new = Box::pin(gate.acquire());
    let (mut waiting, counter) = start_waiting(gate.acquire());
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| poll_with(&mut new, &hostile))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| poll_with(&mut waiting, &hostile))).is_err());
        assert_eq!(gate.status().waiting, 1);
    }
    drop(held);
    assert_eq!(counter.wakes(), 1);
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))));
    assert!(matches!(poll_once(&mut new), Poll::Ready(Ok(_))));
    assert_idle(&gate);
}

/// A replaced or cancelled waker that panics in `drop` costs no request its position or its wake-up, and
/// leaks no permit.
#[test]
fn a_waker_that_panics_in_drop_loses_no_permit() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let mut waiting = Box::pin(gate.acquire());
    assert!(poll_with(&mut waiting, &OnDrop::waker(|| panic!("dropped"))).is_pending());
    let counter = WakeCounter::new();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut waiting, &counter))).is_err());
    assert_eq!(gate.status().waiting, 1, "the request keeps its position");
    drop(held);
    assert_eq!(counter.wakes(), 1, "the new waker is woken");
    assert!(poll_once(&mut waiting).is_ready());
    assert_idle(&gate);

    let held = gate.try_acquire().unwrap();
    let mut cancelled = Box::pin(gate.acquire());
    assert!(poll_with(&mut cancelled, &OnDrop::waker(|| panic!("dropped"))).is_pending());
    let (_next, counter) = start_waiting(gate.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(cancelled))).is_err());
    drop(held);
    assert_eq!(counter.wakes(), 1);
}

/// A request that is admitted under the lock when it arrives keeps its permits if the waker that it does not need
/// panics in `drop`: it returns them at the next poll, and releases them when it is dropped.
#[test]
fn an_unneeded_waker_that_panics_in_drop_loses_no_permit() {
    for is_polled_again in [true, false] {
        let gate = gate(2);
        let held = gate.try_acquire().unwrap();
        let (drained, _) = start_waiting(gate.drained()); // so that each request is decided under the lock
        let hostile = panicking_waker(Call::Drop);
        let mut request = Box::pin(gate.acquire());
        assert!(catch_unwind(AssertUnwindSafe(|| poll_with(&mut request, &hostile))).is_err());
        mem::forget(hostile);
        assert_eq!(gate.status().in_use, 2);
        if is_polled_again {
            assert!(poll_once(&mut request).is_ready());
        }
        drop((request, drained, held));
        let status = gate.status();
        assert_eq!((status.unclaimed, status.totals.queue.abandoned), (0, u64::from(!is_polled_again)));
        assert_idle(&gate);
    }
}

/// A cancelled request whose waker panics in `drop` still admits the request behind it.
#[test]
fn a_waker_that_panics_in_drop_delays_no_other_request() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let mut heavy = Box::pin(gate.acquire_many(2));
    let hostile = panicking_waker(Call::Drop);
    assert!(poll_with(&mut heavy, &hostile).is_pending());
    mem::forget(hostile);
    let (mut light, counter) = start_waiting(gate.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(heavy))).is_err());
    assert_eq!(counter.wakes(), 1, "the heavy request has left the queue");
    assert!(poll_once(&mut light).is_ready());
    drop(held);
    assert_idle(&gate);
}

/// When two wakers panic and the payload of a panic panics in its own `drop`, the first panic still reaches
/// the caller and every waker is woken.
#[test]
fn a_panic_payload_that_panics_in_drop_prevents_no_wake() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            assert!(thread::panicking(), "the payload panics");
        }
    }
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let mut waiting = [gate.acquire(), gate.acquire()].map(Box::pin);
    for future in &mut waiting {
        assert!(poll_with(future, &OnWake::waker(|| panic_any(PanicsInDrop))).is_pending());
    }
    let (_last, counter) = start_waiting(gate.acquire());
    let panic = catch_unwind(AssertUnwindSafe(|| gate.close())).unwrap_err();
    assert!(panic.is::<PanicsInDrop>());
    assert_eq!(counter.wakes(), 1);
    mem::forget(panic);
}

/// A waker that panics when its request expires keeps no other deadline from being met, and the panic does not
/// reach the timers of the runtime.
#[test]
fn a_panicking_waker_loses_no_timer() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let mut first = Box::pin(gate.request().max_wait(HOUR).acquire());
    assert!(poll_with(&mut first, &OnWake::waker(|| panic!("the waker panics"))).is_pending());
    let (mut second, counter) = start_waiting(gate.request().max_wait(2 * HOUR).acquire());
    runtime.block_on(advance(HOUR + MS));
    assert!(matches!(poll_once(&mut first), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    assert_eq!(counter.wakes(), 0);
    runtime.block_on(advance(HOUR));
    assert_eq!((counter.wakes(), gate.status().waiting), (1, 0));
    assert!(matches!(poll_once(&mut second), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    drop(held);
    assert_idle(&gate);
}

/// A waker may change the gate in `clone` so that the request is decided at once, and panic in `drop` when it is not
/// needed: the request keeps what it was admitted with, and nothing is lost.
#[test]
fn a_waker_that_acts_in_clone_and_panics_in_drop_loses_no_permit() {
    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Release,
        Raise,
        Close,
    }
    for (action, has_deadline) in [Action::Release, Action::Raise, Action::Close]
        .into_iter()
        .flat_map(|action| [(action, false), (action, true)])
    {
        let runtime = paused_runtime();
        let _inside = runtime.enter();
        let gate = gate(1);
        let held = Arc::new(Mutex::new(Some(gate.try_acquire_owned().unwrap())));
        let (hooked_gate, hooked_permit) = (gate.clone(), Arc::clone(&held));
        let hostile = hooked(move |call| match (call, action) {
            (Call::Clone, Action::Release) => drop(hooked_permit.lock().unwrap().take()),
            (Call::Clone, Action::Raise) => drop(hooked_gate.resize(Limit::new(2))),
            (Call::Clone, Action::Close) => hooked_gate.close(),
            (Call::Drop, _) => panic!("the waker panics"),
            (Call::Wake, _) => {}
        });
        let request = gate.request();
        let mut request = Box::pin(if has_deadline { request.max_wait(HOUR) } else { request }.acquire());
        assert!(catch_unwind(AssertUnwindSafe(|| poll_with(&mut request, &hostile))).is_err());
        mem::forget(hostile);
        if action != Action::Close {
            assert!(matches!(poll_once(&mut request), Poll::Ready(Ok(_))), "it was admitted");
        }
        drop((request, held.lock().unwrap().take()));
        assert_eq!(gate.status().totals.rejected.closed, u64::from(action == Action::Close));
        assert_idle(&gate);
    }
}
