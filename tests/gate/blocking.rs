//! Waiting on a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
#[cfg(target_os = "linux")]
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::support::{Flag, NAME, assert_at_rest, gate, peek, poll, until_waiting, wait};

/// A thread stands in the same line as futures do, needs no runtime, and is woken in its turn.
#[test]
fn threads_and_futures_share_one_line() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut first, first_flag) = wait(gate.acquire());
    thread::scope(|scope| {
        let thread = scope.spawn(|| gate.acquire_blocking().unwrap().weight());
        until_waiting(&gate, 2);
        let (mut last, last_flag) = wait(gate.acquire());
        drop(held);
        assert_eq!((first_flag.woken(), last_flag.woken()), (1, 0));
        drop(peek(&mut first));
        assert_eq!(thread.join().unwrap(), 1);
        assert_eq!(last_flag.woken(), 1, "after the thread");
        assert!(peek(&mut last).is_ready());
    });
    assert_at_rest(&gate);
}

/// Wherever a thread may block, a request may block it.
#[test]
fn blocking_works_where_blocking_is_allowed() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let gate = gate(1);
    for round in 0..3 {
        let held = gate.try_acquire().unwrap();
        let handle = gate.clone();
        let ask = move || drop(handle.request().acquire_blocking_owned().unwrap());
        let asking = match round {
            0 => runtime.spawn_blocking(ask),
            1 => runtime.spawn(async { tokio::task::block_in_place(ask) }),
            _ => {
                let thread = thread::spawn(ask);
                runtime.spawn_blocking(|| thread.join().unwrap())
            }
        };
        until_waiting(&gate, 1);
        drop(held);
        runtime.block_on(asking).unwrap();
    }
    assert_at_rest(&gate);
}

/// On a thread that runs asynchronous tasks a blocking request panics, room or no room, and loses nothing.
#[test]
fn blocking_a_runtime_panics() {
    let gate = gate(1);
    let runtime = Builder::new_current_thread().build().unwrap();
    let panic = runtime.block_on(async { catch_unwind(AssertUnwindSafe(|| drop(gate.acquire_blocking()))) });
    let panic = panic.unwrap_err();
    let message = panic
        .downcast_ref::<String>()
        .map_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned(), Clone::clone);
    assert!(message.contains("Cannot block the current thread from within a runtime"), "{message}");
    assert_at_rest(&gate);
}

/// A thread gives up at its deadline without any runtime, and is out of line then.
#[test]
fn a_thread_gives_up_at_its_deadline() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let wait = Duration::from_millis(2);
    let error = gate.request().max_wait(wait).acquire_blocking().unwrap_err();
    assert!(
        matches!(error, AcquireError::DeadlineExceeded { gate: NAME, waited } if waited >= wait),
        "{error:?}"
    );
    let status = gate.status();
    assert_eq!((status.waiting, status.totals.queue.enqueued, status.totals.queue.expired), (0, 1, 1));
    assert!(
        gate.request().deadline(Instant::now()).acquire_blocking().is_err(),
        "and does not wait for one that has passed"
    );
    assert_eq!(gate.status().totals.queue.enqueued, 1);
    drop(held);
    assert!(gate.request().max_wait(Duration::MAX).acquire_blocking().is_ok());
    assert_at_rest(&gate);
}

/// A thread at the head that gives up at its deadline lets the next pass, though nothing has come back.
#[test]
fn a_thread_that_gives_up_lets_the_next_pass() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let wait = Duration::from_millis(20);
    thread::scope(|scope| {
        let heavy = scope.spawn(|| gate.request().weight(2).max_wait(wait).acquire_blocking().map(drop));
        while gate.status().totals.queue.enqueued == 0 {
            thread::yield_now();
        }
        let (mut light, flag) = (Box::pin(gate.acquire()), Flag::new());
        let admitted = poll(&mut light, &flag);
        assert!(heavy.join().unwrap().is_err());
        assert!(admitted.is_ready() || flag.woken() == 1);
    });
    drop(held);
    assert_at_rest(&gate);
}

/// One behind the head leaves as quietly.
#[test]
fn a_thread_that_gives_up_behind_another_changes_nothing_for_it() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut first, flag) = wait(gate.acquire());
    assert!(gate.request().max_wait(Duration::from_millis(2)).acquire_blocking().is_err());
    assert_eq!((flag.woken(), gate.status().waiting), (0, 1));
    drop(held);
    assert!(peek(&mut first).is_ready());
    assert_at_rest(&gate);
}

/// A blocked thread sleeps until it is called: it gives its core to others.
#[cfg(target_os = "linux")]
#[test]
fn a_blocked_thread_sleeps() {
    let sleeps = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().voluntary_context_switches();
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    // Not every time: on a busy machine the deadline may have passed before it gets to sleep.
    let has_slept = (0..20).any(|_| {
        let before = sleeps();
        assert!(gate.request().max_wait(Duration::from_millis(2)).acquire_blocking().is_err());
        sleeps() > before
    });
    assert!(has_slept);
}

/// Closing the gate ends a blocked thread's wait.
#[test]
fn closing_ends_a_blocked_thread() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| gate.acquire_blocking().map(drop));
        until_waiting(&gate, 1);
        gate.close();
        assert_eq!(thread.join().unwrap(), Err(AcquireError::Closed { gate: NAME }));
    });
}

/// On a worker a blocking request panics outside `block_in_place`, waits within it, and panics again after it. Where it
/// panics nothing is taken: no permit, no place in line, no count.
#[test]
fn a_worker_may_block_only_in_place() {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for room in [true, false] {
        let gate = gate(1);
        let held = (!room).then(|| gate.try_acquire().unwrap());
        let before = gate.status();
        let handle = gate.clone();
        let worker = runtime.spawn(async move {
            let refused = || {
                let requests: [&dyn Fn(); 3] = [
                    &|| drop(handle.acquire_blocking()),
                    &|| drop(handle.request().acquire_blocking_owned()),
                    &|| drop(handle.request().max_wait(Duration::ZERO).acquire_blocking()),
                ];
                for request in requests {
                    let panic = catch_unwind(AssertUnwindSafe(request)).unwrap_err();
                    let message = panic.downcast_ref::<String>().map_or("", String::as_str);
                    let message = panic.downcast_ref::<&str>().copied().unwrap_or(message);
                    assert!(message.contains("Cannot block the current thread"), "{message}");
                }
                handle.status()
            };
            let outside = refused();
            let wait = Duration::from_millis(2);
            let inside =
                tokio::task::block_in_place(|| handle.request().max_wait(wait).acquire_blocking().map(drop));
            let _after = refused();
            (outside, inside.is_ok())
        });
        assert_eq!(runtime.block_on(worker).unwrap(), (before, room));
        drop(held);
        assert_at_rest(&gate);
    }
}

/// A thread that has only entered a runtime runs no tasks of it, and may block.
#[test]
fn a_thread_that_has_entered_a_runtime_may_block() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let gate = gate(1);
    assert!(gate.acquire_blocking().is_ok());
    assert_at_rest(&gate);
}
