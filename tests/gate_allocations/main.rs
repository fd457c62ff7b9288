//! The heap allocations of a gate: none for a request that fits, and none beside the future for a request
//! that waits.
//!
//! A test target of its own, because its allocator is global. It counts by thread, so that parallel tests do
//! not count each other's allocations.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::mem::size_of_val;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concurrency_governor::gate::{Gate, Histogram};
use concurrency_governor::{GateName, Limit};
use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;
use tokio::time::advance;

/// The system allocator, with a count of the allocations of each thread, and of the bytes that they hold.
struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

impl CountingAllocator {
    fn count() {
        // A thread that is exiting has destroyed its counter, and needs none.
        let _destroyed = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    }

    fn hold(bytes: isize) {
        let _destroyed = HELD_BYTES.try_with(|held| held.set(held.get() + bytes));
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX) // a layout is never larger
}

// SAFETY: every call is passed to the system allocator unchanged. Counting does not allocate: the counter is
// initialised by a constant and has no destructor.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        Self::hold(signed(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        Self::hold(signed(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        Self::hold(signed(size) - signed(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::hold(-signed(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const NAME: GateName = GateName::new("lean");
const HOUR: Duration = Duration::from_secs(3600);

/// The promised size of a future of `acquire`, with every option. A task that waits holds this much memory
/// for its wait.
const MAX_FUTURE_SIZE: usize = 80;

/// Returns the number of allocations of this thread in 100 runs of the step, after 8 runs to warm up.
fn count_allocations(mut step: impl FnMut()) -> usize {
    for _ in 0..8 {
        step();
    }
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        step();
    }
    ALLOCATIONS.get() - before
}

fn gate(limit: u32) -> Gate {
    Gate::new(NAME, Limit::new(limit))
}

fn current_thread_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns `true` if the future is ready at its first poll.
fn is_ready(future: impl Future) -> bool {
    poll(pin!(future)).is_ready()
}

/// The counter counts allocations, without which every other test here would pass in any case.
#[test]
fn the_allocator_counts() {
    assert_eq!(count_allocations(|| drop(black_box(Box::new(1)))), 100);
    assert_eq!(count_allocations(|| ()), 0);
}

/// A request that fits allocates nothing, whichever way it acquires its permit, and neither does the release.
#[test]
fn a_request_that_fits_allocates_nothing() {
    let gate = gate(8);
    assert_eq!(count_allocations(|| drop(gate.try_acquire().unwrap())), 0, "try_acquire");
    assert_eq!(count_allocations(|| drop(gate.try_acquire_many(8).unwrap())), 0, "try_acquire_many");
    assert_eq!(count_allocations(|| drop(gate.try_acquire_owned().unwrap())), 0, "try_acquire_owned");
    assert_eq!(count_allocations(|| assert!(is_ready(gate.acquire()))), 0, "acquire");
    assert_eq!(count_allocations(|| assert!(is_ready(gate.acquire_many(8)))), 0, "acquire_many");
    assert_eq!(count_allocations(|| assert!(is_ready(gate.acquire_owned()))), 0, "acquire_owned");
    assert_eq!(count_allocations(|| assert!(is_ready(gate.acquire_many_owned(8)))), 0, "acquire_many_owned");
    let timed = || gate.request().weight(2).max_wait(HOUR);
    assert_eq!(count_allocations(|| assert!(is_ready(timed().acquire()))), 0, "acquire with a deadline");
    assert_eq!(
        count_allocations(|| assert!(is_ready(timed().acquire_owned()))),
        0,
        "acquire_owned with a deadline"
    );
    assert_eq!(count_allocations(|| assert!(is_ready(gate.run(async {})))), 0, "run");
    assert_eq!(count_allocations(|| drop(gate.clone())), 0, "another handle");
    let status = gate.status();
    assert_eq!((status.in_use, status.totals.queue.enqueued), (0, 0));
}

/// A rejected request allocates nothing.
#[test]
fn a_rejection_allocates_nothing() {
    let full = Gate::builder(NAME, Limit::MIN).queue(0).build();
    let _held = full.try_acquire().unwrap();
    assert_eq!(count_allocations(|| assert!(full.try_acquire().is_err())), 0, "no permits");
    assert_eq!(count_allocations(|| assert!(is_ready(full.acquire()))), 0, "the queue is full");
    assert_eq!(count_allocations(|| assert!(is_ready(full.acquire_many(2)))), 0, "too large");
    full.close();
    assert_eq!(count_allocations(|| assert!(is_ready(full.acquire_owned()))), 0, "closed");
}

/// A request that fits allocates nothing when it is awaited in a runtime.
#[test]
fn awaiting_a_request_that_fits_allocates_nothing() {
    let gate = gate(2);
    // Without a budget, because the runtime allocates when the task yields.
    current_thread_runtime().block_on(unconstrained(async {
        let mut allocations = 0;
        for round in 0..100 {
            let before = ALLOCATIONS.get();
            drop(gate.acquire().await.unwrap());
            drop(gate.acquire_many_owned(2).await.unwrap());
            drop(gate.request().max_wait(HOUR).acquire().await.unwrap());
            if round >= 8 {
                allocations += ALLOCATIONS.get() - before;
            }
        }
        assert_eq!(allocations, 0);
    }));
}

/// After the first wait at a gate, waiting allocates nothing beside the future: not to join the queue, to be
/// polled with another waker, to be admitted or to be cancelled.
#[test]
fn a_wait_allocates_nothing_beside_its_future() {
    struct NoopWaker;
    impl Wake for NoopWaker {
        fn wake(self: Arc<Self>) {}
    }
    let gate = gate(1);
    let other_waker = Waker::from(Arc::new(NoopWaker));
    let wait = |is_cancelled: bool| {
        let held = gate.try_acquire().unwrap();
        let (mut first, mut second) = (pin!(gate.acquire()), pin!(gate.acquire_owned()));
        assert!(poll(first.as_mut()).is_pending());
        assert!(first.as_mut().poll(&mut Context::from_waker(&other_waker)).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        if is_cancelled {
            return;
        }
        drop(held);
        drop(poll(first.as_mut()));
        drop(poll(second.as_mut()));
    };
    assert_eq!(count_allocations(|| wait(false)), 0, "admitted");
    assert_eq!(count_allocations(|| wait(true)), 0, "cancelled");
    assert_eq!(gate.status().waiting, 0);
}

/// While another request waits with a deadline on the same runtime, one more allocates nothing beside its
/// future, whether its deadline is earlier or later.
#[test]
fn one_more_wait_with_a_deadline_allocates_nothing_beside_its_future() {
    let gate = gate(2);
    let runtime = current_thread_runtime();
    let _inside = runtime.enter();
    let _held = gate.try_acquire().unwrap();
    let all_permits = gate.request().weight(2).max_wait(HOUR);
    for max_wait in [HOUR / 2, 2 * HOUR] {
        let (mut other, mut behind) = (pin!(all_permits.acquire()), pin!(all_permits.acquire()));
        assert!(poll(other.as_mut()).is_pending() && poll(behind.as_mut()).is_pending());
        let allocations = count_allocations(|| {
            let mut waiting = pin!(gate.request().max_wait(max_wait).acquire());
            assert!(poll(waiting.as_mut()).is_pending());
            assert!(poll(waiting).is_pending());
        });
        assert_eq!(allocations, 0);
    }
}

/// The number of allocations does not grow with the number of requests that expire at once.
#[test]
fn expiring_many_requests_allocates_as_often_as_expiring_two() {
    let gate = gate(1);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _held = gate.try_acquire().unwrap();
    let request = gate.request().max_wait(Duration::from_millis(1));
    let count_while_expiring = |requests: u64| {
        runtime.block_on(async {
            let mut waiting: Vec<_> = (0..requests).map(|_| Box::pin(request.acquire())).collect();
            assert!(waiting.iter_mut().all(|waiting| poll(waiting.as_mut()).is_pending()));
            let (allocations, expired) = (ALLOCATIONS.get(), gate.status().totals.queue.expired);
            advance(Duration::from_millis(1)).await;
            assert_eq!(gate.status().totals.queue.expired - expired, requests);
            ALLOCATIONS.get() - allocations
        })
    };
    assert_eq!(count_while_expiring(1000), count_while_expiring(2));
}

/// The future of a request is small enough to be part of its task, with every option.
#[test]
fn the_future_of_a_request_is_small() {
    let gate = gate(1);
    let timed = gate.request().weight(2).max_wait(HOUR);
    let sizes = [
        size_of_val(&gate.acquire()),
        size_of_val(&gate.acquire_owned()),
        size_of_val(&timed.acquire()),
        size_of_val(&timed.acquire_owned()),
    ];
    assert!(sizes.iter().all(|size| *size <= MAX_FUTURE_SIZE), "{sizes:?}");
}

/// A gate that does not measure waits has no histogram of them, not even after a wait.
#[test]
fn a_gate_without_measured_waits_has_no_histogram() {
    let held_by = |measures: bool| {
        let before = HELD_BYTES.get();
        let gate = Gate::builder(NAME, Limit::new(1)).measure_waits(measures).build();
        let held = gate.try_acquire().unwrap();
        let mut waiting = pin!(gate.acquire());
        assert!(poll(waiting.as_mut()).is_pending());
        drop(held);
        assert!(poll(waiting.as_mut()).is_ready());
        HELD_BYTES.get() - before
    };
    held_by(true); // what the process allocates once
    assert_eq!(held_by(true) - held_by(false), signed(size_of::<Histogram>()));
}

/// A gate returns all its memory with its last handle, permit and pending request, whatever it was used for.
#[test]
fn dropped_gates_return_their_memory() {
    let runtime = current_thread_runtime();
    let _inside = runtime.enter();
    let use_gate = |measures: bool| {
        let gate = Gate::builder(NAME, Limit::new(2)).measure_waits(measures).build();
        let permit = gate.try_acquire_owned().unwrap();
        let second = gate.try_acquire_owned().unwrap();
        let mut waiting = Box::pin(gate.acquire_owned());
        assert!(poll(waiting.as_mut()).is_pending());
        let mut timed = Box::pin(gate.request().max_wait(HOUR).acquire_owned());
        assert!(poll(timed.as_mut()).is_pending());
        drop((gate, permit));
        let third = poll(waiting.as_mut()).map(Result::unwrap);
        assert!(third.is_ready());
        drop((timed, second, third));
    };
    use_gate(true); // what the process allocates once
    let before = HELD_BYTES.get();
    for gate in 0..1000 {
        use_gate(gate % 2 == 0);
    }
    assert_eq!(HELD_BYTES.get(), before);
    let gate = gate(1);
    assert!(HELD_BYTES.get() > before + 1024, "the counter counts a gate");
    drop(gate);
    assert_eq!(HELD_BYTES.get(), before);
}
