//! Requests with a deadline whose runtime has no timer, is gone, or is not driven.

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Wake, Waker};
use std::{mem, thread};

use concurrency_governor::gate::AcquireError;
use tokio::runtime::Builder;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    HOUR, MS, WakeCounter, assert_idle, boxed_acquire, expect_ready, gate, paused_runtime, poll, poll_once,
    poll_with, run_with_timeout, start_waiting,
};

/// A request with a deadline needs no runtime if it is admitted at once. If it has to wait without a timer,
/// its poll panics, it does not join the queue, and it may be polled again on a runtime with a timer.
#[test]
fn a_missing_timer_panics_and_loses_nothing() {
    let gate = gate(1);
    let held = expect_ready(gate.request().max_wait(MS).acquire()).unwrap();
    let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut waiting))).is_err(), "there is no runtime");
    let untimed = Builder::new_current_thread().build().unwrap();
    let inside = untimed.enter();
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut waiting))).is_err(), "the runtime has no timer");
    drop(inside);
    assert_eq!(gate.status().waiting, 0);

    let timed = paused_runtime();
    let inside = timed.enter();
    assert!(poll_once(&mut waiting).is_pending(), "it may be polled again where there is a timer");
    drop(inside);
    drop((waiting, held));
    assert_idle(&gate);
}

/// A request with a deadline that does not have to wait needs no runtime: it is rejected, or admitted while only
/// a `drained` future waits.
#[test]
fn a_request_that_does_not_wait_needs_no_runtime() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let mut drained = Box::pin(gate.drained());
    assert!(poll_once(&mut drained).is_pending());
    drop(expect_ready(gate.request().max_wait(MS).acquire()).unwrap());
    let too_large = expect_ready(gate.request().weight(3).max_wait(MS).acquire());
    assert!(matches!(too_large, Err(AcquireError::TooLarge { .. })));
    gate.close();
    let closed = expect_ready(gate.request().max_wait(MS).acquire());
    assert!(matches!(closed, Err(AcquireError::Closed { .. })));
    drop((drained, held));
    assert_eq!(gate.status().in_use, 0);
}

/// A request that relies on a timer whose creation is about to fail is woken, and expires on the next runtime
/// with a timer.
#[test]
fn a_request_that_relies_on_a_failed_timer_is_woken() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();

    // The panic hook runs while the creation of the timer fails. It polls a second request, which then relies
    // on that timer. Panics of other threads go to the previous hook.
    let relying = Arc::new(Mutex::new(boxed_acquire(&gate, 1, HOUR)));
    let (polled_in_hook, counter) = (Arc::clone(&relying), WakeCounter::new());
    let (waker, this_thread) = (Waker::from(Arc::clone(&counter)), thread::current().id());
    let previous_hook = Arc::new(panic::take_hook());
    let forwarded = Arc::clone(&previous_hook);
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == this_thread {
            assert!(poll_with(&mut *polled_in_hook.lock().unwrap(), &waker).is_pending());
        } else {
            forwarded(panic);
        }
    }));
    let untimed = Builder::new_current_thread().build().unwrap();
    let inside = untimed.enter();
    let mut failing = Box::pin(gate.request().max_wait(HOUR / 2).acquire());
    let has_panicked = catch_unwind(AssertUnwindSafe(|| poll_once(&mut failing))).is_err();
    panic::set_hook(Box::new(move |panic| previous_hook(panic)));
    assert_eq!((has_panicked, counter.wakes(), gate.status().waiting), (true, 1, 1));
    drop(inside);

    // On a runtime with a timer the second request meets its deadline.
    let timed = paused_runtime();
    let _inside = timed.enter();
    let mut relying = relying.lock().unwrap();
    assert!(poll_once(&mut *relying).is_pending());
    timed.block_on(advance(2 * HOUR));
    assert!(matches!(poll_once(&mut *relying), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    drop(held);
    assert_idle(&gate);
}

/// A waiting request whose runtime is gone panics when it is polled without another runtime. No permit is
/// lost, and a request that was admitted needs no timer.
#[test]
fn a_dropped_runtime_loses_no_permit_of_a_request_with_a_deadline() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtime = paused_runtime();
    let inside = runtime.enter();
    let (mut waiting, _) = start_waiting(gate.request().max_wait(HOUR).acquire());
    let (mut admitted, _) = start_waiting(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    drop(runtime);
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut waiting))).is_err());
    drop(waiting);
    drop(held);
    assert!(matches!(poll_once(&mut admitted), Poll::Ready(Ok(_))), "it was admitted, so it needs no timer");
    assert_idle(&gate);
}

/// A deadline is met on its own runtime, although an earlier request set a timer on a runtime that is no
/// longer driven.
#[test]
fn a_deadline_does_not_depend_on_an_idle_runtime() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (idle, driven) = (paused_runtime(), paused_runtime());
    let inside = idle.enter();
    drop(start_waiting(gate.request().max_wait(HOUR / 2).acquire()));
    drop(inside);
    let _inside = driven.enter();
    let (waiting, counter) = start_waiting(gate.request().max_wait(HOUR).acquire());
    driven.block_on(advance(HOUR));
    assert_eq!(counter.wakes(), 1);
    drop((waiting, held));
    assert_idle(&gate);
}

/// A request whose runtime is dropped is woken and keeps its position. Polled on another runtime, it sets a
/// timer there and leaves the queue at its deadline.
#[test]
fn a_request_may_move_to_another_runtime() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let first = paused_runtime();
    let inside = first.enter();
    let (mut expiring, counter) = start_waiting(gate.request().max_wait(HOUR).acquire());
    let (mut behind, _) = start_waiting(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    drop(first);
    assert_eq!((counter.wakes(), gate.status().waiting), (1, 2));

    let second = paused_runtime();
    let inside = second.enter();
    let counter = WakeCounter::new();
    assert!(poll(&mut expiring, &counter).is_pending() && poll(&mut behind, &counter).is_pending());
    assert_eq!((gate.status().waiting, Arc::strong_count(&counter)), (2, 3), "each keeps its latest waker");
    second.block_on(advance(HOUR / 2));
    assert_eq!((counter.wakes(), gate.status().waiting), (0, 2));
    second.block_on(advance(HOUR));
    assert_eq!((counter.wakes(), gate.status().waiting), (2, 0));
    assert!(matches!(poll_once(&mut expiring), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    assert!(poll_once(&mut behind).is_ready());
    drop((inside, held));
    assert_idle(&gate);
}

/// A future whose runtime and timer are gone may be dropped or leaked before it is polled again. The other
/// requests keep their positions and deadlines.
#[test]
fn futures_may_be_dropped_or_leaked_after_their_runtime() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtime = paused_runtime();
    let inside = runtime.enter();
    let [leaked, dropped, polled] = [(); 3].map(|()| start_waiting(gate.request().max_wait(HOUR).acquire()));
    drop(inside);
    drop(runtime);
    let wakes = [&leaked, &dropped, &polled].map(|(_, counter)| counter.wakes());
    assert_eq!(wakes, [1, 1, 1], "each is woken to set another timer");
    mem::forget(leaked.0);
    drop(dropped.0);
    let another = paused_runtime();
    let _inside = another.enter();
    let (mut future, counter) = polled;
    assert!(poll(&mut future, &counter).is_pending());
    another.block_on(advance(2 * HOUR));
    assert_eq!(counter.wakes(), 2);
    assert!(matches!(poll_once(&mut future), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    assert_eq!(gate.status().waiting, 1, "the leaked request, which cannot be polled");
    drop(held);
}

/// The timer of a gate may own the last reference to its runtime, which it gives up when the runtime is shut down. Destructors
/// that run then may use the gate.
#[test]
fn the_last_reference_to_a_runtime_may_use_the_gate_when_dropped() {
    run_with_timeout("dropping the last reference to a runtime", || {
        let gate = gate(1);
        let held = gate.try_acquire().unwrap();
        let (handle, counter) = (gate.clone(), WakeCounter::new());
        let on_call = Arc::clone(&counter);
        let calls_gate = hooked(move |_| {
            assert_eq!(handle.status().waiting, 1);
            on_call.wake_by_ref();
        });
        // The runtime owns the closure, the closure owns the waker, and the waker calls the gate when it is
        // dropped.
        let on_park = move || assert!(!calls_gate.will_wake(Waker::noop()));
        let runtime = Builder::new_current_thread().enable_time().on_thread_park(on_park).build().unwrap();
        let inside = runtime.enter();
        let (waiting, _) = start_waiting(gate.request().max_wait(HOUR).acquire());
        drop(inside);
        drop(runtime);
        assert_eq!(counter.wakes(), 1);
        drop(waiting);
        drop(held);
        assert_idle(&gate);
    });
}

/// A timer that fires just after its gate was dropped does not affect a gate that is created in the same
/// memory.
#[test]
fn a_late_timer_does_not_affect_a_new_gate() {
    for is_polled_first in [true, false] {
        let runtime = paused_runtime();
        let _inside = runtime.enter();
        let (observed, doomed) = (gate(1), gate(1));
        let held = observed.try_acquire().unwrap();

        // Both requests expire at the same time. The waker of the first drops the gate of the second, and
        // creates gates with waiting requests in its place.
        let mut doomed = (boxed_acquire(&doomed, 1, HOUR), doomed.try_acquire_owned().unwrap(), doomed);
        if is_polled_first {
            assert!(poll_once(&mut doomed.0).is_pending());
        }
        let mut first = Box::pin(observed.request().max_wait(HOUR).acquire());
        let (doomed, created) = (Arc::new(Mutex::new(Some(doomed))), Arc::new(Mutex::new(Vec::new())));
        let (dropped_in_wake, created_in_wake) = (Arc::clone(&doomed), Arc::clone(&created));
        let waker = hooked(move |call| {
            if call == Call::Wake {
                drop(dropped_in_wake.lock().unwrap().take());
                created_in_wake.lock().unwrap().extend((0..16).map(|_| {
                    let gate = gate(1);
                    let mut request = boxed_acquire(&gate, 1, 2 * HOUR);
                    let held = gate.try_acquire_owned().unwrap();
                    assert!(poll_once(&mut request).is_pending());
                    (request, held, gate)
                }));
            }
        });
        assert!(poll_with(&mut first, &waker).is_pending());
        if let Some((request, ..)) = doomed.lock().unwrap().as_mut().filter(|_| !is_polled_first) {
            assert!(poll_once(request).is_pending());
        }

        runtime.block_on(advance(HOUR)); // both timers fire now, one after the other
        assert!(doomed.lock().unwrap().is_none());
        for (request, held, gate) in created.lock().unwrap().drain(..) {
            assert_eq!((gate.status().waiting, gate.status().totals.queue.expired), (1, 0));
            drop((request, held));
            assert_idle(&gate);
        }
        drop((first, held));
        assert_idle(&observed);
    }
}

/// Each deadline is met although two threads set the timer of one runtime at once, and although it fires meanwhile.
#[test]
fn threads_that_set_one_timer_meet_both_deadlines() {
    const ROUNDS: u32 = if cfg!(miri) { 10 } else { 3000 };
    let (gate, runtime) = (gate(1), paused_runtime());
    let held = gate.try_acquire().unwrap();
    for round in 0..ROUNDS {
        let start = Barrier::new(3);
        let arrive = |max_wait| {
            let _inside = runtime.enter();
            start.wait();
            start_waiting(gate.request().max_wait(max_wait).acquire())
        };
        let waiting = thread::scope(|scope| {
            let threads = [2 * MS, MS].map(|max_wait| scope.spawn(move || arrive(max_wait)));
            start.wait();
            if round % 2 == 0 {
                runtime.block_on(advance(MS));
            }
            threads.map(|thread| thread.join().unwrap())
        });
        runtime.block_on(advance(MS));
        assert_eq!(waiting[1].1.wakes(), 1, "the earlier deadline");
        runtime.block_on(advance(MS));
        assert_eq!(waiting[0].1.wakes(), 1, "the later deadline");
    }
    drop(held);
    assert_idle(&gate);
}

/// A request whose runtime is dropped while a poll clones the new waker still meets its deadline, on the next
/// runtime.
#[test]
fn a_deadline_survives_a_runtime_dropped_during_a_poll() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let runtime = paused_runtime();
    let inside = runtime.enter();
    let (mut waiting, _) = start_waiting(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    let runtime = Mutex::new(Some(runtime));
    let drops_runtime =
        hooked(move |call| drop((call == Call::Clone).then(|| runtime.lock().unwrap().take())));
    let another = paused_runtime();
    let _inside = another.enter();
    assert!(poll_with(&mut waiting, &drops_runtime).is_pending());
    assert!(poll_once(&mut waiting).is_pending());
    another.block_on(advance(2 * HOUR));
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
}
