//! What safe code can do to the nodes of the wait queue, which are part of the futures: move a future between
//! threads, drop it from any place, and let the waker in a node own the future of that node.
//!
//! These tests also run under the sanitizers and Miri (docs/TESTING.md).

use std::mem;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Acquire, AcquireOwned, Gate};
use tokio::task::yield_now;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    BoxedAcquire, HOUR, WakeCounter, assert_idle, boxed_acquire, gate, paused_runtime, poll, poll_once,
    poll_with, run_with_timeout, start_waiting, unmeasured_gate,
};

/// Miri takes far longer per round.
const ROUNDS: usize = if cfg!(miri) { 20 } else { 2000 };

/// A waker that owns the future which it wakes. It ignores the wake-up, so that the last clone drops the
/// future.
struct SelfOwningTask {
    future: Mutex<BoxedAcquire>,
}

impl SelfOwningTask {
    /// Puts a request into the queue that only its own waker owns.
    #[track_caller]
    fn enqueue(gate: &Gate, weight: u32, max_wait: Duration) {
        let task = Arc::new(Self { future: Mutex::new(boxed_acquire(gate, weight, max_wait)) });
        let waker = Waker::from(Arc::clone(&task));
        assert!(poll_with(&mut *task.future.lock().unwrap(), &waker).is_pending());
    }
}

impl Wake for SelfOwningTask {
    fn wake(self: Arc<Self>) {}
}

/// Compiles only if the futures are not `Unpin`: the trait would be implemented twice for an `Unpin` type,
/// and the call would be ambiguous.
const _: fn() = || {
    trait IsNotUnpin<Marker> {
        fn check() {}
    }
    struct ForUnpin;
    impl<T> IsNotUnpin<()> for T {}
    impl<T: Unpin> IsNotUnpin<ForUnpin> for T {}
    <Acquire<'static> as IsNotUnpin<_>>::check();
    <AcquireOwned as IsNotUnpin<_>>::check();
};

/// A future may move before its first poll, and may then be polled and dropped by different threads, while it
/// waits and after it was admitted. Only its latest waker is woken.
#[test]
fn a_future_may_move_between_threads() {
    for is_admitted in [false, true] {
        for gate in [gate(1), unmeasured_gate(1)] {
            let held = gate.try_acquire_owned().unwrap();
            let (released, _held) = if is_admitted { (Some(held), None) } else { (None, Some(held)) };
            let mut unpolled = vec![gate.acquire(), gate.acquire()];
            unpolled.swap(0, 1);
            let mut future = Box::pin(unpolled.remove(0));
            let counters = [(); 3].map(|()| WakeCounter::new());
            thread::scope(|scope| {
                for counter in &counters {
                    let polling = scope.spawn(move || {
                        assert!(poll(&mut future, counter).is_pending());
                        future
                    });
                    future = polling.join().unwrap();
                }
                scope.spawn(|| drop(released)).join().unwrap();
                scope.spawn(|| drop(future)).join().unwrap();
            });
            assert_eq!(counters.map(|counter| counter.wakes()), [0, 0, usize::from(is_admitted)]);
            assert_eq!(gate.status().waiting, 0);
        }
    }
}

/// A request that is polled without pause may be admitted during a poll, and may be dropped immediately
/// afterwards.
#[test]
fn a_future_may_be_admitted_while_it_is_polled() {
    let gate = gate(1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let (mut future, counter) = (Box::pin(gate.acquire()), WakeCounter::new());
                    let permit = loop {
                        match poll(&mut future, &counter) {
                            Poll::Ready(permit) => break permit.unwrap(),
                            Poll::Pending => thread::yield_now(),
                        }
                    };
                    drop(future);
                    thread::yield_now(); // until other requests wait
                    drop(permit);
                }
            });
        }
    });
    assert_idle(&gate);
}

/// Threads enqueue, poll with changing wakers, are admitted and cancel at the same time, so that each node leaves
/// between nodes of other threads. The queue stays intact.
#[test]
fn nodes_of_many_threads_join_and_leave() {
    for gate in [gate(2), unmeasured_gate(2)] {
        thread::scope(|scope| {
            for stride in 1..=4 {
                let gate = &gate;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let counter = WakeCounter::new();
                        let mut futures = [(); 3].map(|()| Some(Box::pin(gate.acquire())));
                        for nth in 0..12 {
                            let future = &mut futures[(round + stride * nth) % 3];
                            let waker = if nth % 4 == 3 { WakeCounter::new() } else { Arc::clone(&counter) };
                            if future.as_mut().is_some_and(|future| poll(future, &waker).is_ready()) {
                                *future = None;
                            }
                        }
                        futures.rotate_left(round % 3);
                    }
                });
            }
        });
        assert_idle(&gate);
    }
}

/// Futures that a panic drops leave the queue, waiting and admitted, in either order, although their wakers
/// panic too.
#[test]
fn futures_dropped_by_a_panic_leave_the_queue() {
    for from_the_head in [true, false] {
        let gate = gate(2);
        let mut held = Some(gate.try_acquire_many(2).unwrap());
        let panic = catch_unwind(AssertUnwindSafe(|| {
            // The panic drops them in the order of the array.
            let mut futures = [2, 1, 1].map(|weight| Box::pin(gate.acquire_many(weight)));
            if !from_the_head {
                futures.reverse();
            }
            for future in &mut futures {
                let waker = hooked(|call| {
                    if thread::panicking() {
                        panic::resume_unwind(Box::new(call)); // does not run the panic hook
                    }
                });
                assert!(poll_with(future, &waker).is_pending());
            }
            if from_the_head {
                held = None;
            } else {
                futures.reverse();
            }
            assert_eq!(gate.status().waiting, if from_the_head { 2 } else { 3 });
            panic!("in the work");
        }));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in the work"));
        drop(held);
        assert_idle(&gate);
    }
}

/// A waker may be the only owner of the future that it wakes. The wake-up then drops the future, and its
/// permits admit the next request.
#[test]
fn a_waker_may_own_the_future_that_it_wakes() {
    for end in ["release", "raised limit", "lowered limit", "close", "deadline", "runtime shutdown"] {
        run_with_timeout(end, move || {
            let runtime = paused_runtime();
            let inside = runtime.enter();
            let gate = gate(2);
            let held = gate.try_acquire_many(2).unwrap();
            for weight in [2, 1, 2] {
                SelfOwningTask::enqueue(&gate, weight, HOUR);
            }
            let (mut last, counter) = start_waiting(gate.acquire());
            match end {
                "raised limit" => drop(gate.resize(Limit::new(4))),
                "lowered limit" => {
                    gate.resize(Limit::MIN);
                    assert_eq!(gate.status().waiting, 2, "the requests of weight 2 have left");
                }
                "close" => gate.close(),
                "deadline" => runtime.block_on(advance(HOUR)),
                _ => {}
            }
            drop(inside);
            drop(runtime);
            drop(held);
            assert_eq!(counter.wakes(), 1);
            assert!(poll_once(&mut last).is_ready());
            assert_idle(&gate);
        });
    }
}

/// A waker that is dropped may drop or poll other futures of the same queue.
#[test]
fn a_waker_may_drop_and_poll_other_futures_of_its_queue() {
    for occasion in ["replaced", "cancelled", "admitted"] {
        for polls in [false, true] {
            run_with_timeout(occasion, move || {
                let gate = gate(1);
                let held = gate.try_acquire().unwrap();

                // The waker takes the other futures when it is dropped. It polls and keeps them, or drops
                // them.
                let others = Arc::new(Mutex::new(Vec::new()));
                let shared = Arc::clone(&others);
                let waker = hooked(move |call| {
                    let taken =
                        if call == Call::Drop { mem::take(&mut *shared.lock().unwrap()) } else { vec![] };
                    for mut other in taken {
                        if polls && poll_once(&mut other).is_pending() {
                            shared.lock().unwrap().push(other);
                        }
                    }
                });

                // One of the other futures waits before the future of the waker, and one behind it.
                let [before, mut own, after] = [(); 3].map(|()| boxed_acquire(&gate, 1, Duration::MAX));
                let mut around = vec![before, after];
                assert!(poll_once(&mut around[0]).is_pending());
                assert!(poll_with(&mut own, &waker).is_pending());
                drop(waker);
                assert!(poll_once(&mut around[1]).is_pending());
                *others.lock().unwrap() = around;
                match occasion {
                    "replaced" => assert!(poll_once(&mut own).is_pending()),
                    "cancelled" => drop(own),
                    _ => assert_eq!(gate.resize(Limit::new(3)).debt, 0),
                }
                let waiting = mem::take(&mut *others.lock().unwrap()).len();
                assert_eq!(waiting, if polls && occasion != "admitted" { 2 } else { 0 });
                drop(held);
            });
        }
    }
}

/// The waker of a request at one gate may own a permit of a second gate, and a waker there may own that
/// request: a release at the first gate leads to the second and back.
#[test]
fn wakers_of_two_gates_may_own_each_others_requests() {
    run_with_timeout("two gates", || {
        let (here, there) = (gate(1), gate(1));
        let (held, owned) = (here.try_acquire().unwrap(), Mutex::new(there.try_acquire_owned().ok()));

        // The waker of the first request releases the permit of the other gate.
        let first = Arc::new(Mutex::new(boxed_acquire(&here, 1, Duration::MAX)));
        let waker = hooked(move |call| drop((call == Call::Wake).then(|| owned.lock().unwrap().take())));
        assert!(poll_with(&mut *first.lock().unwrap(), &waker).is_pending());
        let (mut second, counter) = start_waiting(here.acquire());

        // The waker at the other gate drops the first request, whose permit admits the second.
        let mut across = boxed_acquire(&there, 1, Duration::MAX);
        let first = Mutex::new(Some(first));
        let waker = hooked(move |call| drop((call == Call::Wake).then(|| first.lock().unwrap().take())));
        assert!(poll_with(&mut across, &waker).is_pending());
        drop(held);
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut across).is_ready() && poll_once(&mut second).is_ready());
        assert_idle(&here);
        assert_idle(&there);
    });
}

/// The request that loses a `select!` leaves its queue, whether it waits or was admitted.
#[tokio::test(start_paused = true)]
async fn the_loser_of_a_select_leaves_its_queue() {
    let (here, there) = (gate(1), gate(2));
    let mut tasks = Vec::new();
    for nth in 0..8_u32 {
        let (here, there) = (here.clone(), there.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS / 10 {
                tokio::select! {
                    one = here.request().max_wait(HOUR).acquire() => drop((yield_now().await, one.unwrap())),
                    two = there.acquire_many(1 + nth % 2) => drop((yield_now().await, two.unwrap())),
                }
                if round % 5 == 0 {
                    yield_now().await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(here.status().totals.queue.cancelled > 0 && there.status().totals.queue.cancelled > 0);
    assert_idle(&here);
    assert_idle(&there);
}
