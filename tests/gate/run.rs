//! Work under `run` and `run_blocking`, which hold the permit for exactly as long as the work runs.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc;

use concurrency_governor::gate::{AcquireError, Gate};
use tokio::runtime::{Builder, Runtime};

use crate::support::{HOUR, NAME, assert_idle, expect_ready, gate, poll_once, spin_until};

/// A runtime that runs at most one blocking closure at a time.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap()
}

/// Sends the number of permits in use when it is dropped.
struct SendInUseOnDrop<'a>(&'a Gate, &'a mpsc::Sender<u32>);

impl Drop for SendInUseOnDrop<'_> {
    fn drop(&mut self) {
        self.1.send(self.0.status().in_use).unwrap();
    }
}

/// `run` holds the permit while the work runs, and releases it when the work ends.
#[test]
fn run_holds_the_permit_while_the_work_runs() {
    let gate = gate(2);
    assert_eq!(expect_ready(gate.run(async { gate.status().in_use })), Ok(1));
    assert_eq!(expect_ready(gate.request().weight(2).run(async { gate.status().in_use })), Ok(2));
    assert_idle(&gate);
}

/// The work of a rejected request never starts.
#[test]
fn rejected_work_never_starts() {
    let gate = gate(1);
    gate.close();
    let closed = Err(AcquireError::Closed { gate: NAME });
    assert_eq!(expect_ready(gate.run(async { unreachable!("rejected") })), closed.map(|(): ()| ()));
    let runtime = runtime();
    let outcome = runtime.block_on(gate.run_blocking(|| unreachable!("rejected")));
    assert_eq!(outcome, Err::<(), _>(AcquireError::Closed { gate: NAME }));
}

/// When `run` is cancelled, the work is dropped before its permit is released.
#[test]
fn cancelled_work_is_dropped_before_its_permit() {
    let gate = gate(1);
    let (sender, receiver) = mpsc::channel();
    {
        let on_drop = SendInUseOnDrop(&gate, &sender);
        let mut work = pin!(gate.run(async move {
            let _on_drop = on_drop;
            pending::<()>().await;
        }));
        assert!(poll_once(&mut work).is_pending());
    }
    assert_eq!(receiver.recv(), Ok(1));
    assert_idle(&gate);
}

/// A panic in the work releases the permit and reaches the caller.
#[test]
fn panicking_work_releases_its_permit() {
    let gate = gate(1);
    let panic = catch_unwind(AssertUnwindSafe(|| expect_ready(gate.run(async { panic!("in async work") }))));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in async work"));
    assert_idle(&gate);

    let runtime = runtime();
    let work = gate.run_blocking(|| panic!("in blocking work"));
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work).map(|(): ()| ())));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in blocking work"));
    assert_idle(&gate);
}

/// Blocking work that has started holds its permit until it ends, even if its future is dropped.
#[test]
fn abandoned_blocking_work_holds_its_permit() {
    let gate = gate(1);
    let runtime = runtime();
    let (started, has_started) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel::<()>();
    let mut work: Pin<Box<dyn Future<Output = _>>> = Box::pin(gate.run_blocking(move || {
        started.send(()).unwrap();
        may_finish.recv().unwrap();
    }));
    let inside = runtime.enter();
    assert!(poll_once(&mut work).is_pending());
    has_started.recv().unwrap();
    drop(work);
    assert!(gate.try_acquire().is_err(), "the blocking work still runs");
    drop(inside);
    finish.send(()).unwrap();
    runtime.block_on(gate.drained());
    assert_idle(&gate);
}

/// The permit of blocking work is released before its result is returned.
#[test]
fn blocking_work_releases_its_permit_before_it_returns() {
    let gate = gate(1);
    let runtime = runtime();
    let handle = gate.clone();
    assert_eq!(runtime.block_on(gate.run_blocking(move || handle.status().in_use)), Ok(1));
    assert_idle(&gate);
    let through_request = gate.request().run_blocking(|| "done");
    assert_eq!(runtime.block_on(through_request), Ok("done"));
}

/// `run_blocking` outside a runtime returns an error at once and is not admitted.
#[test]
fn blocking_work_outside_a_runtime_is_an_error() {
    let gate = gate(1);
    assert_eq!(expect_ready(gate.run_blocking(|| ())), Err(AcquireError::NoRuntime { gate: NAME }));
    assert_eq!(gate.status().totals.admitted, 0);
}

/// Blocking work whose runtime shuts down before it starts returns an error and releases its permit.
#[test]
fn blocking_work_of_a_dropped_runtime_is_an_error() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let dropped_runtime = runtime();
    let mut work = Box::pin(gate.run_blocking(|| unreachable!("its runtime is gone")));
    let inside = dropped_runtime.enter();
    assert!(poll_once(&mut work).is_pending());
    drop(inside);
    drop(dropped_runtime);
    drop(held);
    assert_eq!(runtime().block_on(work), Err::<(), _>(AcquireError::NoRuntime { gate: NAME }));
    assert_idle(&gate);
}

/// After a runtime was dropped with tasks that held permits or waited, the gate is idle and usable on the
/// next runtime.
#[test]
fn a_dropped_runtime_leaves_the_gate_usable() {
    let gate = gate(2);
    let dropped_runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for _ in 0..8 {
        let handle = gate.clone();
        dropped_runtime.spawn(async move { handle.run(pending::<()>()).await });
        let handle = gate.clone();
        dropped_runtime.spawn(async move { handle.request().max_wait(HOUR).run(pending::<()>()).await });
    }
    spin_until(|| gate.status().waiting == 14);
    drop(dropped_runtime);
    assert_idle(&gate);
    assert_eq!(runtime().block_on(gate.request().weight(2).run(async { "done" })), Ok("done"));
    assert_idle(&gate);
}

/// Work in place may borrow. It holds the permit while it runs, and not longer, even if it panics.
#[cfg(feature = "multi-thread")]
#[test]
fn work_in_place_holds_its_permit() {
    let gate = gate(1);
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let mut seen = 0;
        let output = gate.run_in_place(|| {
            seen = gate.in_use();
            seen + 1
        });
        assert_eq!((output.await, seen, gate.in_use()), (Ok(2), 1, 0));
        let panics = AssertUnwindSafe(gate.request().run_in_place(|| panic!("at work")));
        let task = async { catch_unwind(AssertUnwindSafe(|| poll_once(&mut Box::pin(panics.0)))).is_err() };
        assert!(task.await);
    });
    gate.close();
    let rejected = runtime.block_on(gate.run_in_place(|| unreachable!("it is rejected")));
    assert_eq!(rejected, Err::<(), _>(AcquireError::Closed { gate: NAME }));
    assert_idle(&gate);
}

/// A current-thread runtime must not block its only thread: the panic loses no permit.
#[cfg(feature = "multi-thread")]
#[test]
fn work_in_place_panics_in_a_current_thread_runtime() {
    let gate = gate(1);
    let panics = catch_unwind(AssertUnwindSafe(|| runtime().block_on(gate.run_in_place(|| ()))));
    assert!(panics.is_err());
    assert_idle(&gate);
}
