//! Requests that block their thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
#[cfg(target_os = "linux")]
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::support::{
    MS, NAME, WakeCounter, assert_idle, gate, poll, poll_once, spin_until, start_waiting, unmeasured_gate,
};

/// A blocked thread waits in the same queue as futures, needs no runtime, and is woken when it is admitted.
#[test]
fn threads_and_futures_share_one_queue() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (mut first, first_counter) = start_waiting(gate.acquire());
        thread::scope(|scope| {
            let thread = scope.spawn(|| gate.acquire_blocking().unwrap().weight());
            spin_until(|| gate.status().waiting == 2);
            let (mut last, last_counter) = start_waiting(gate.acquire());
            drop(held);
            assert_eq!((first_counter.wakes(), last_counter.wakes()), (1, 0));
            drop(poll_once(&mut first));
            assert_eq!(thread.join().unwrap(), 1);
            assert_eq!(last_counter.wakes(), 1, "it is admitted after the thread");
            assert!(poll_once(&mut last).is_ready());
        });
        assert_idle(&gate);
    }
}

/// A request may block wherever a thread may block: in `spawn_blocking`, in `block_in_place` and on any other
/// thread.
#[test]
fn a_request_may_block_where_blocking_is_allowed() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let gate = gate(1);
    for round in 0..3 {
        let held = gate.try_acquire().unwrap();
        let handle = gate.clone();
        let acquire = move || drop(handle.request().acquire_owned_blocking().unwrap());
        let acquiring = match round {
            0 => runtime.spawn_blocking(acquire),
            1 => runtime.spawn(async { tokio::task::block_in_place(acquire) }),
            _ => {
                let thread = thread::spawn(acquire);
                runtime.spawn_blocking(|| thread.join().unwrap())
            }
        };
        spin_until(|| gate.status().waiting == 1);
        drop(held);
        runtime.block_on(acquiring).unwrap();
    }
    assert_idle(&gate);
}

/// On a thread that runs asynchronous tasks a blocking request panics, even if it fits, and takes no permit.
#[test]
fn a_blocking_request_in_an_async_task_panics() {
    let gate = gate(1);
    let runtime = Builder::new_current_thread().build().unwrap();
    let panic = runtime.block_on(async { catch_unwind(AssertUnwindSafe(|| drop(gate.acquire_blocking()))) });
    let panic = panic.unwrap_err();
    let message = panic
        .downcast_ref::<String>()
        .map_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned(), Clone::clone);
    assert!(message.contains("Cannot block the current thread from within a runtime"), "{message}");
    assert_idle(&gate);
}

/// On a worker thread a blocking request panics outside `block_in_place`, waits inside it, and panics again
/// after it. A request that panics takes no permit, joins no queue and is not counted.
#[test]
fn a_worker_thread_may_block_only_in_place() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for fits in [true, false] {
        let gate = gate(1);
        let held = (!fits).then(|| gate.try_acquire().unwrap());
        let before = gate.status();
        let handle = gate.clone();
        let worker = runtime.spawn(async move {
            let assert_requests_panic = || {
                let requests: [&dyn Fn(); 3] = [
                    &|| drop(handle.acquire_blocking()),
                    &|| drop(handle.request().acquire_owned_blocking()),
                    &|| drop(handle.request().max_wait(Duration::ZERO).acquire_blocking()),
                ];
                for request in requests {
                    let panic = catch_unwind(AssertUnwindSafe(request)).unwrap_err();
                    let message = panic.downcast_ref::<String>().map_or("", String::as_str);
                    let message = panic.downcast_ref::<&str>().copied().unwrap_or(message);
                    assert!(message.contains("Cannot block the current thread"), "{message}");
                }
            };
            assert_requests_panic();
            let status = handle.status();
            let outcome = tokio::task::block_in_place(|| {
                handle.request().max_wait(2 * MS).acquire_blocking().map(drop)
            });
            assert_requests_panic();
            (status, outcome.is_ok())
        });
        assert_eq!(runtime.block_on(worker).unwrap(), (before, fits));
        drop(held);
        assert_idle(&gate);
    }
}

/// A thread that has entered a runtime, and runs no tasks of it, may block.
#[test]
fn a_thread_that_entered_a_runtime_may_block() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let gate = gate(1);
    assert!(gate.acquire_blocking().is_ok());
    assert_idle(&gate);
}

/// A blocked thread leaves the queue at its deadline without a runtime. With a passed deadline it does not
/// join the queue.
#[test]
fn a_blocked_thread_leaves_at_its_deadline() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let wait = 2 * MS;
    let error = gate.request().max_wait(wait).acquire_blocking().unwrap_err();
    assert!(
        matches!(error, AcquireError::DeadlineExceeded { gate: NAME, waited } if waited >= wait),
        "{error:?}"
    );
    let status = gate.status();
    assert_eq!((status.waiting, status.totals.queue.enqueued, status.totals.queue.expired), (0, 1, 1));
    assert!(gate.request().deadline(Instant::now()).acquire_blocking().is_err());
    assert_eq!(gate.status().totals.queue.enqueued, 1, "a request with a passed deadline does not wait");
    drop(held);
    assert!(gate.request().max_wait(Duration::MAX).acquire_blocking().is_ok());
    assert_idle(&gate);
}

/// A blocked thread at the head of the queue that expires admits the next request if it fits, without any
/// release.
#[test]
fn an_expired_thread_at_the_head_admits_the_next_request() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire().unwrap();
        thread::scope(|scope| {
            let heavy =
                scope.spawn(|| gate.request().weight(2).max_wait(20 * MS).acquire_blocking().map(drop));
            spin_until(|| gate.status().totals.queue.enqueued > 0);
            // Admitted at the first poll if the thread has expired already.
            let (mut light, counter) = (Box::pin(gate.acquire()), WakeCounter::new());
            let first_poll = poll(&mut light, &counter);
            assert!(heavy.join().unwrap().is_err());
            assert!(first_poll.is_ready() || counter.wakes() == 1);
        });
        drop(held);
        assert_idle(&gate);
    }
}

/// A blocked thread behind the head of the queue that expires wakes no other request.
#[test]
fn an_expired_thread_behind_the_head_wakes_no_other() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut first, counter) = start_waiting(gate.acquire());
    assert!(gate.request().max_wait(2 * MS).acquire_blocking().is_err());
    assert_eq!((counter.wakes(), gate.status().waiting), (0, 1));
    drop(held);
    assert!(poll_once(&mut first).is_ready());
    assert_idle(&gate);
}

/// A blocked thread sleeps until it is woken, and leaves its core to other threads.
#[cfg(target_os = "linux")]
#[test]
fn a_blocked_thread_sleeps() {
    let sleeps = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().voluntary_context_switches();
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    // On a busy machine the deadline may pass before the thread goes to sleep, so one of several rounds is
    // enough.
    let has_slept = (0..20).any(|_| {
        let before = sleeps();
        assert!(gate.request().max_wait(2 * MS).acquire_blocking().is_err());
        sleeps() > before
    });
    assert!(has_slept);
}

/// Closing the gate ends the wait of a blocked thread.
#[test]
fn closing_ends_the_wait_of_a_blocked_thread() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| gate.acquire_blocking().map(drop));
        spin_until(|| gate.status().waiting == 1);
        gate.close();
        assert_eq!(thread.join().unwrap(), Err(AcquireError::Closed { gate: NAME }));
    });
}
