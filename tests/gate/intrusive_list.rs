//! What safe code can do to the nodes of the line, which are part of its futures: leak them, move them, drop them from
//! anywhere, own them by the wakers that they hold. All of it runs under the sanitizers and miri, too: docs/ORDERING.md.

use std::mem;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Acquire, Gate, OwnedPermit};
use tokio::task::yield_now;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    Flag, HOUR, Waiting, assert_at_rest, clock, gate, peek, poll, poll_by, request, wait, within_a_minute,
};

/// An interpreter takes a thousand times as long.
const ROUNDS: usize = if cfg!(miri) { 20 } else { 2000 };

/// A task that is there for as long as somebody may wake it: its future is its own waker's.
struct Task {
    future: Mutex<Waiting>,
}

impl Task {
    /// Puts a request in line.
    #[track_caller]
    fn start(gate: &Gate, weight: u32, max_wait: Duration) {
        let task = Arc::new(Self { future: Mutex::new(request(gate, weight, max_wait)) });
        let waker = Waker::from(Arc::clone(&task));
        assert!(poll_by(&mut *task.future.lock().unwrap(), &waker).is_pending());
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {} // that was the last of it
}

/// A future is in one place from its first poll to its end.
const _: fn() = || {
    trait IsNot<Because> {
        fn holds() {}
    }
    struct ItIs;
    impl<T> IsNot<()> for T {}
    impl<T: Unpin> IsNot<ItIs> for T {}
    <Acquire<'static> as IsNot<_>>::holds(); // there would be two of these, and none to choose
    <Acquire<'static, OwnedPermit> as IsNot<_>>::holds();
};

/// A future that was leaked in line keeps its place there, and is let in when its turn comes.
#[test]
fn a_leaked_future_keeps_its_place() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (before, _) = wait(gate.acquire());
    let (leaked, flag) = wait(gate.acquire());
    let (after, _) = wait(gate.acquire());
    mem::forget(leaked);
    drop((before, after));
    let (mut last, last_flag) = wait(gate.acquire());
    drop(held);
    assert_eq!((flag.woken(), Arc::strong_count(&flag), last_flag.woken()), (1, 1, 0));
    gate.resize(Limit::new(2));
    assert!(peek(&mut last).is_ready());
    assert_eq!(
        (gate.status().in_use, gate.status().waiting),
        (1, 0),
        "what it was let in with is out for ever"
    );
}

/// A future that was leaked in line leaves at its deadline as any other.
#[test]
fn a_leaked_future_leaves_at_its_deadline() {
    let clock = clock();
    let _inside = clock.enter();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (leaked, flag) = wait(gate.request().max_wait(HOUR).acquire());
    mem::forget(leaked);
    clock.block_on(advance(HOUR));
    assert_eq!((flag.woken(), Arc::strong_count(&flag)), (1, 1));
    drop(held);
    assert_at_rest(&gate);
}

/// What was leaked in line is nothing to the next gate in that place, whether its deadline comes before that or after.
#[test]
fn a_leaked_future_is_nothing_to_the_next_gate() {
    for is_late in [false, true] {
        let clock = clock();
        let _inside = clock.enter();
        let former = gate(1);
        let held = former.try_acquire_owned().unwrap();
        let flags = [Duration::MAX, HOUR, 2 * HOUR].map(|max_wait| {
            let (leaked, flag) = wait(former.request().max_wait(max_wait).acquire());
            mem::forget(leaked);
            flag
        });
        drop((former, held));
        if is_late {
            clock.block_on(advance(HOUR));
        }
        let gates = until_used_again(&flags[0]);
        let granted: Vec<_> = gates.iter().map(|gate| gate.try_acquire().unwrap()).collect();
        let waiting: Vec<_> = gates.iter().map(|gate| wait(gate.acquire())).collect();
        clock.block_on(advance(3 * HOUR));
        assert!(waiting.iter().all(|(_, flag)| flag.woken() == 0), "they had no deadline");
        assert!(flags.iter().all(|flag| Arc::strong_count(flag) == 1));
        assert_eq!([0, 2].map(|nth: usize| flags[nth].woken()), [0, 0]);
        assert!(is_late || flags[1].woken() == 0);
        drop((waiting, granted));
        gates.iter().for_each(assert_at_rest);
    }
}

/// Makes gates until one has the place in which this was left, and so lets go of it.
fn until_used_again(flag: &Arc<Flag>) -> Vec<Gate> {
    let mut gates = Vec::new();
    while Arc::strong_count(flag) > 1 {
        assert!(gates.len() < 100_000, "it is kept for ever");
        gates.push(gate(1));
        thread::yield_now(); // another test may have that place, and be about to
    }
    gates
}

/// A future may move until it is polled, and after that from thread to thread: each polls it by a waker of its own, and
/// the last drops it, in line or let in.
#[test]
fn a_future_goes_from_thread_to_thread() {
    for is_let_in in [false, true] {
        let gate = gate(1);
        let held = gate.try_acquire_owned().unwrap();
        let (given_back, _kept) = if is_let_in { (Some(held), None) } else { (None, Some(held)) };
        let mut moving = vec![gate.acquire(), gate.acquire()];
        moving.swap(0, 1);
        let mut future = Box::pin(moving.remove(0));
        let flags = [(); 3].map(|()| Flag::new());
        thread::scope(|scope| {
            for flag in &flags {
                let polling = scope.spawn(move || {
                    assert!(poll(&mut future, flag).is_pending());
                    future
                });
                future = polling.join().unwrap();
            }
            scope.spawn(|| drop(given_back)).join().unwrap();
            scope.spawn(|| drop(future)).join().unwrap();
        });
        assert_eq!(flags.map(|flag| flag.woken()), [0, 0, usize::from(is_let_in)]);
        assert_eq!(gate.status().waiting, 0);
    }
}

/// A request that is polled all the while is let in while it looks, and may be gone an instant later.
#[test]
fn a_future_is_let_in_while_it_is_polled() {
    let gate = gate(1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let (mut future, flag) = (Box::pin(gate.acquire()), Flag::new());
                    let permit = loop {
                        match poll(&mut future, &flag) {
                            Poll::Ready(permit) => break permit.unwrap(),
                            Poll::Pending => thread::yield_now(),
                        }
                    };
                    drop(future);
                    thread::yield_now(); // until others are in line
                    drop(permit);
                }
            });
        }
    });
    assert_at_rest(&gate);
}

/// Threads that come, poll by one waker and another, are let in and give up: whoever leaves does so between two of
/// other threads.
#[test]
fn neighbours_of_many_threads_come_and_go() {
    let gate = gate(2);
    thread::scope(|scope| {
        for stride in 1..=4 {
            let gate = &gate;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let flag = Flag::new();
                    let mut futures = [(); 3].map(|()| Some(Box::pin(gate.acquire())));
                    for nth in 0..12 {
                        let future = &mut futures[(round + stride * nth) % 3];
                        let other = if nth % 4 == 3 { Flag::new() } else { Arc::clone(&flag) };
                        if future.as_mut().is_some_and(|future| poll(future, &other).is_ready()) {
                            *future = None;
                        }
                    }
                    futures.rotate_left(round % 3);
                }
            });
        }
    });
    assert_at_rest(&gate);
}

/// Futures that a panic drops, in line and let in, from the head or from behind, make way, whatever their wakers do then.
#[test]
fn futures_that_a_panic_drops_make_way() {
    for from_the_head in [true, false] {
        let gate = gate(2);
        let mut held = Some(gate.try_acquire_many(2).unwrap());
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let mut futures = [2, 1, 1].map(|weight| Box::pin(gate.acquire_many(weight))); // dropped as they stand here
            if !from_the_head {
                futures.reverse();
            }
            for future in &mut futures {
                let waker = hooked(|call| {
                    if thread::panicking() {
                        panic::resume_unwind(Box::new(call)); // nobody need hear of it
                    }
                });
                assert!(poll_by(future, &waker).is_pending());
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
        assert_at_rest(&gate);
    }
}

/// A waker may be all that holds the future that it wakes, which is gone with the call, and with it what it was granted.
#[test]
fn a_waker_may_own_the_future_that_it_wakes() {
    for end in ["release", "growth", "shrinking", "close", "deadline", "shutdown"] {
        within_a_minute(end, move || {
            let clock = clock();
            let inside = clock.enter();
            let gate = gate(2);
            let held = gate.try_acquire_many(2).unwrap();
            for weight in [2, 1, 2] {
                Task::start(&gate, weight, HOUR);
            }
            let (mut last, flag) = wait(gate.acquire());
            match end {
                "growth" => drop(gate.resize(Limit::new(4))),
                "shrinking" => {
                    gate.resize(Limit::MIN);
                    assert_eq!(gate.status().waiting, 2, "those that ask for 2 are gone");
                }
                "close" => gate.close(),
                "deadline" => clock.block_on(advance(HOUR)),
                _ => {}
            }
            drop(inside);
            drop(clock);
            drop(held);
            assert_eq!(flag.woken(), 1);
            assert!(peek(&mut last).is_ready());
            assert_at_rest(&gate);
        });
    }
}

/// A waker that is dropped may drop another future of its line, or poll it.
#[test]
fn a_waker_may_drop_and_poll_its_neighbours() {
    for occasion in ["replaced", "given up", "let in"] {
        for polls in [false, true] {
            within_a_minute(occasion, move || {
                let gate = gate(1);
                let held = gate.try_acquire().unwrap();
                let neighbours = Arc::new(Mutex::new(Vec::new()));
                let reached = Arc::clone(&neighbours);
                let waker = hooked(move |call| {
                    let taken =
                        if call == Call::Drop { mem::take(&mut *reached.lock().unwrap()) } else { vec![] };
                    for mut neighbour in taken {
                        if polls && peek(&mut neighbour).is_pending() {
                            reached.lock().unwrap().push(neighbour);
                        }
                    }
                });
                let (before, mut own, after) = (
                    request(&gate, 1, Duration::MAX),
                    request(&gate, 1, Duration::MAX),
                    request(&gate, 1, Duration::MAX),
                );
                let mut around = vec![before, after];
                assert!(peek(&mut around[0]).is_pending());
                assert!(poll_by(&mut own, &waker).is_pending());
                drop(waker);
                assert!(peek(&mut around[1]).is_pending());
                *neighbours.lock().unwrap() = around;
                match occasion {
                    "replaced" => assert!(peek(&mut own).is_pending()),
                    "given up" => drop(own),
                    _ => assert_eq!(gate.resize(Limit::new(3)).debt, 0),
                }
                let waiting = mem::take(&mut *neighbours.lock().unwrap()).len();
                assert_eq!(waiting, if polls && occasion != "let in" { 2 } else { 0 });
                drop(held);
            });
        }
    }
}

/// A waker at one gate may hold what somebody waits for at another, whose waker holds the first one: a release goes there
/// and comes back.
#[test]
fn two_gates_hand_on_through_each_others_wakers() {
    within_a_minute("two gates", || {
        let (here, there) = (gate(1), gate(1));
        let (held, owned) = (here.try_acquire().unwrap(), Mutex::new(there.try_acquire_owned().ok()));
        let first = Arc::new(Mutex::new(request(&here, 1, Duration::MAX)));
        let waker = hooked(move |call| drop((call == Call::Wake).then(|| owned.lock().unwrap().take())));
        assert!(poll_by(&mut *first.lock().unwrap(), &waker).is_pending());
        let (mut second, flag) = wait(here.acquire());
        let mut across = request(&there, 1, Duration::MAX);
        let first = Mutex::new(Some(first));
        let waker = hooked(move |call| drop((call == Call::Wake).then(|| first.lock().unwrap().take())));
        assert!(poll_by(&mut across, &waker).is_pending());
        drop(held);
        assert_eq!(flag.woken(), 1);
        assert!(peek(&mut across).is_ready() && peek(&mut second).is_ready());
        assert_at_rest(&here);
        assert_at_rest(&there);
    });
}

/// Of two requests that are raced, the one that loses leaves its line, wherever it is by then.
#[tokio::test(start_paused = true)]
async fn the_loser_of_a_select_leaves_its_line() {
    let (here, there) = (gate(1), gate(2));
    let mut racing = Vec::new();
    for nth in 0..8_u32 {
        let (here, there) = (here.clone(), there.clone());
        racing.push(tokio::spawn(async move {
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
    for task in racing {
        task.await.unwrap();
    }
    assert!(here.status().totals.queue.cancelled > 0 && there.status().totals.queue.cancelled > 0);
    assert_at_rest(&here);
    assert_at_rest(&there);
}

/// A gate is made, whatever the wakers do that were leaked in its place.
#[test]
fn a_gate_is_made_whatever_was_leaked_in_its_place() {
    let former = gate(1);
    let held = former.try_acquire_owned().unwrap();
    let hostile = hooked(|call| assert!(call != Call::Drop, "as it was told to"));
    let mut leaked = Box::pin(former.acquire());
    assert!(poll_by(&mut leaked, &hostile).is_pending());
    let (behind, flag) = wait(former.acquire());
    mem::forget((leaked, hostile, behind));
    drop((former, held));
    let gates = until_used_again(&flag);
    gates.iter().for_each(assert_at_rest);
    assert_eq!(flag.woken(), 0);
}
