//! Requests whose timer is not there: their runtime has none, or is gone.

use std::mem;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
use tokio::runtime::Builder;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    Flag, HOUR, assert_at_rest, clock, gate, now, peek, poll, poll_by, request, wait, within_a_minute,
};

const MS: Duration = Duration::from_millis(1);

/// A request that needs no timer needs no runtime; one that does panics and leaves nothing behind.
#[test]
fn a_missing_timer_loses_nothing() {
    let gate = gate(1);
    let held = now(gate.request().max_wait(MS).acquire()).unwrap();
    let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| peek(&mut waiting))).is_err(), "no runtime");
    let untimed = Builder::new_current_thread().build().unwrap();
    let inside = untimed.enter();
    assert!(catch_unwind(AssertUnwindSafe(|| peek(&mut waiting))).is_err(), "a runtime without a timer");
    drop(inside);
    assert_eq!(gate.status().waiting, 0);

    let timed = clock();
    let inside = timed.enter();
    assert!(peek(&mut waiting).is_pending(), "it may be asked again where there is one");
    drop(inside);
    drop((waiting, held));
    assert_at_rest(&gate);
}

/// Whoever comes to rely on a timer just as that cannot be set is woken for it, and finds another where there is one.
#[test]
fn who_relies_on_a_timer_that_cannot_be_set_is_told() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let relying = Arc::new(Mutex::new(request(&gate, 1, HOUR)));
    let (comes, flag, own) = (Arc::clone(&relying), Flag::new(), thread::current().id());
    let waker = Waker::from(Arc::clone(&flag));
    let known = Arc::new(panic::take_hook());
    let other = Arc::clone(&known);
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == own {
            assert!(poll_by(&mut *comes.lock().unwrap(), &waker).is_pending());
        } else {
            other(panic);
        }
    }));
    let untimed = Builder::new_current_thread().build().unwrap();
    let inside = untimed.enter();
    let mut setting = Box::pin(gate.request().max_wait(HOUR / 2).acquire());
    let panicked = catch_unwind(AssertUnwindSafe(|| peek(&mut setting))).is_err();
    panic::set_hook(Box::new(move |panic| known(panic)));
    assert_eq!((panicked, flag.woken(), gate.status().waiting), (true, 1, 1));
    drop(inside);

    let clock = clock();
    let _inside = clock.enter();
    let mut relying = relying.lock().unwrap();
    assert!(peek(&mut *relying).is_pending());
    clock.block_on(advance(2 * HOUR));
    assert!(matches!(peek(&mut *relying), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    drop(held);
    assert_at_rest(&gate);
}

/// A timed request that outlives its runtime panics when it is polled, and costs nobody a permit.
#[test]
fn a_timer_whose_runtime_is_gone_loses_nothing() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtime = clock();
    let inside = runtime.enter();
    let (mut waiting, _) = wait(gate.request().max_wait(HOUR).acquire());
    let (mut granted, _) = wait(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    drop(runtime);
    assert!(catch_unwind(AssertUnwindSafe(|| peek(&mut waiting))).is_err());
    drop(waiting);
    drop(held);
    assert!(matches!(peek(&mut granted), Poll::Ready(Ok(_))), "its turn came, so the timer is not asked");
    assert_at_rest(&gate);
}

/// A deadline is met by its own runtime, though another, which nobody drives any more, had the timer before.
#[test]
fn a_timer_that_nobody_drives_is_left_to_nobody() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (idle, driven) = (clock(), clock());
    let inside = idle.enter();
    drop(wait(gate.request().max_wait(HOUR / 2).acquire()));
    drop(inside);
    let _inside = driven.enter();
    let (waiting, flag) = wait(gate.request().max_wait(HOUR).acquire());
    driven.block_on(advance(HOUR));
    assert_eq!(flag.woken(), 1);
    drop((waiting, held));
    assert_at_rest(&gate);
}

/// A request whose runtime has gone is woken for that and keeps its place; polled on another runtime it is watched there,
/// and leaves at its deadline.
#[test]
fn a_request_may_move_to_another_runtime() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let going = clock();
    let inside = going.enter();
    let (mut moving, flag) = wait(gate.request().max_wait(HOUR).acquire());
    let (mut granted, _) = wait(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    drop(going);
    assert_eq!((flag.woken(), gate.status().waiting), (1, 2));

    let staying = clock();
    let inside = staying.enter();
    let flag = Flag::new();
    assert!(poll(&mut moving, &flag).is_pending() && poll(&mut granted, &flag).is_pending());
    assert_eq!((gate.status().waiting, Arc::strong_count(&flag)), (2, 3), "each by its latest waker");
    staying.block_on(advance(HOUR / 2));
    assert_eq!((flag.woken(), gate.status().waiting), (0, 2));
    staying.block_on(advance(HOUR));
    assert_eq!((flag.woken(), gate.status().waiting), (2, 0));
    assert!(matches!(peek(&mut moving), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    assert!(peek(&mut granted).is_ready());
    drop((inside, held));
    assert_at_rest(&gate);
}

/// A future whose runtime is gone, and with it the timer, may be dropped before it is polled again, or leaked; and the
/// others keep their places.
#[test]
fn futures_may_end_between_their_runtime_and_their_timer() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtime = clock();
    let inside = runtime.enter();
    let [leaked, dropped, kept] = [(); 3].map(|()| wait(gate.request().max_wait(HOUR).acquire()));
    drop(inside);
    drop(runtime);
    assert_eq!([&leaked, &dropped, &kept].map(|(_, flag)| flag.woken()), [1, 1, 1], "to find another timer");
    mem::forget(leaked.0);
    drop(dropped.0);
    let another = clock();
    let _inside = another.enter();
    let (mut future, flag) = kept;
    assert!(poll(&mut future, &flag).is_pending());
    another.block_on(advance(2 * HOUR));
    assert_eq!(flag.woken(), 2);
    assert!(matches!(peek(&mut future), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
    assert_eq!(gate.status().waiting, 1, "what nobody can poll");
    drop(held);
}

/// A request may be all that is left of its runtime: what goes with that, once the request does, may come back to the gate.
#[test]
fn the_last_of_a_runtime_may_come_back() {
    within_a_minute("the last of a runtime", || {
        let gate = gate(1);
        let held = gate.try_acquire().unwrap();
        let (handle, flag) = (gate.clone(), Flag::new());
        let told = Arc::clone(&flag);
        let asks = hooked(move |_| {
            assert_eq!(handle.status().waiting, 0);
            told.wake_by_ref();
        });
        let parks = move || assert!(!asks.will_wake(Waker::noop()));
        let runtime = Builder::new_current_thread().enable_time().on_thread_park(parks).build().unwrap();
        let inside = runtime.enter();
        let (waiting, _) = wait(gate.request().max_wait(HOUR).acquire());
        drop(inside);
        drop(runtime);
        assert_eq!(flag.woken(), 0);
        drop(waiting);
        assert_eq!(flag.woken(), 1);
        drop(held);
        assert_at_rest(&gate);
    });
}

/// A timer that is called just as its gate has gone is nothing to the next gate in that place.
#[test]
fn a_timer_called_late_is_nothing_to_the_next_gate() {
    for is_first in [true, false] {
        let clock = clock();
        let _inside = clock.enter();
        let (here, there) = (gate(1), gate(1));
        let held = here.try_acquire().unwrap();
        let mut going = (request(&there, 1, HOUR), there.try_acquire_owned().unwrap(), there);
        if is_first {
            assert!(peek(&mut going.0).is_pending());
        }
        let mut ends_it = Box::pin(here.request().max_wait(HOUR).acquire());
        let (going, next) = (Arc::new(Mutex::new(Some(going))), Arc::new(Mutex::new(Vec::new())));
        let (goes, comes) = (Arc::clone(&going), Arc::clone(&next));
        let waker = hooked(move |call| {
            if call == Call::Wake {
                drop(goes.lock().unwrap().take());
                comes.lock().unwrap().extend((0..16).map(|_| {
                    let gate = gate(1);
                    let mut request = request(&gate, 1, 2 * HOUR);
                    let held = gate.try_acquire_owned().unwrap();
                    assert!(peek(&mut request).is_pending());
                    (request, held, gate)
                }));
            }
        });
        assert!(poll_by(&mut ends_it, &waker).is_pending());
        if let Some((request, ..)) = going.lock().unwrap().as_mut().filter(|_| !is_first) {
            assert!(peek(request).is_pending());
        }
        clock.block_on(advance(HOUR)); // both timers go off at once, and are called one after another
        assert!(going.lock().unwrap().is_none());
        for (request, held, gate) in next.lock().unwrap().drain(..) {
            assert_eq!((gate.status().waiting, gate.status().totals.queue.expired), (1, 0));
            drop((request, held));
            assert_at_rest(&gate);
        }
        drop((ends_it, held));
        assert_at_rest(&here);
    }
}

/// A request that is polled by another waker just as its runtime goes finds another timer.
#[test]
fn a_deadline_outlives_its_runtime_whatever_poll_it_meets() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let runtime = clock();
    let inside = runtime.enter();
    let (mut waiting, _) = wait(gate.request().max_wait(HOUR).acquire());
    drop(inside);
    let runtime = Mutex::new(Some(runtime));
    let ends_it = hooked(move |call| drop((call == Call::Clone).then(|| runtime.lock().unwrap().take())));
    let another = clock();
    let _inside = another.enter();
    assert!(poll_by(&mut waiting, &ends_it).is_pending());
    assert!(peek(&mut waiting).is_pending());
    another.block_on(advance(2 * HOUR));
    assert!(matches!(peek(&mut waiting), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
}
