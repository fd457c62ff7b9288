//! Work that cannot forget its permit.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc;

use concurrency_governor::gate::{AcquireError, Gate};
use tokio::runtime::{Builder, Runtime};

use crate::support::{NAME, assert_at_rest, gate, now, peek};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap()
}

/// Tells when it is dropped whether the permit was still out.
struct Witness<'a>(&'a Gate, &'a mpsc::Sender<u32>);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.1.send(self.0.status().in_use).unwrap();
    }
}

/// Work runs with the permit, and gives it back when it ends.
#[test]
fn run_holds_the_permit_for_the_work() {
    let gate = gate(2);
    assert_eq!(now(gate.run(async { gate.status().in_use })), Ok(1));
    assert_eq!(now(gate.request().weight(2).run(async { gate.status().in_use })), Ok(2));
    assert_at_rest(&gate);
}

/// Work that is refused never begins.
#[test]
fn refused_work_never_runs() {
    let gate = gate(1);
    gate.close();
    let refused = Err(AcquireError::Closed { gate: NAME });
    assert_eq!(now(gate.run(async { unreachable!("refused") })), refused.map(|(): ()| ()));
    let runtime = runtime();
    let refused = runtime.block_on(gate.run_blocking(|| unreachable!("refused")));
    assert_eq!(refused, Err::<(), _>(AcquireError::Closed { gate: NAME }));
}

/// Work that is given up is dropped first, and then its permit comes back.
#[test]
fn cancelled_work_ends_before_its_permit() {
    let gate = gate(1);
    let (sender, receiver) = mpsc::channel();
    {
        let witness = Witness(&gate, &sender);
        let mut work = pin!(gate.run(async move {
            let _witness = witness;
            pending::<()>().await;
        }));
        assert!(peek(&mut work).is_pending());
    }
    assert_eq!(receiver.recv(), Ok(1));
    assert_at_rest(&gate);
}

/// A panic in the work gives the permit back, and goes on.
#[test]
fn panicking_work_gives_its_permit_back() {
    let gate = gate(1);
    let panic = catch_unwind(AssertUnwindSafe(|| now(gate.run(async { panic!("in async work") }))));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in async work"));
    assert_at_rest(&gate);

    let runtime = runtime();
    let work = gate.run_blocking(|| panic!("in blocking work"));
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work).map(|(): ()| ())));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"in blocking work"));
    assert_at_rest(&gate);
}

/// Once begun, blocking work holds its permit to its end, even if nobody waits for it any more.
#[test]
fn abandoned_blocking_work_still_counts() {
    let gate = gate(1);
    let runtime = runtime();
    let (started, has_started) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel::<()>();
    let mut work: Pin<Box<dyn Future<Output = _>>> = Box::pin(gate.run_blocking(move || {
        started.send(()).unwrap();
        may_finish.recv().unwrap();
    }));
    let inside = runtime.enter();
    assert!(peek(&mut work).is_pending());
    has_started.recv().unwrap();
    drop(work);
    assert!(gate.try_acquire().is_err(), "the thread still runs");
    drop(inside);
    finish.send(()).unwrap();
    runtime.block_on(gate.drained());
    assert_at_rest(&gate);
}

/// The permit of blocking work is back when its result is.
#[test]
fn blocking_work_gives_its_permit_back_before_its_result() {
    let gate = gate(1);
    let runtime = runtime();
    let inside = gate.clone();
    assert_eq!(runtime.block_on(gate.run_blocking(move || inside.status().in_use)), Ok(1));
    assert_at_rest(&gate);
    let weighed = gate.request().run_blocking(|| "weighed");
    assert_eq!(runtime.block_on(weighed), Ok("weighed"));
}

/// Without a runtime there is nowhere to run blocking work, and nobody stands in line for that.
#[test]
fn blocking_work_needs_a_runtime() {
    let gate = gate(1);
    assert_eq!(now(gate.run_blocking(|| ())), Err(AcquireError::NoRuntime { gate: NAME }));
    assert_eq!(gate.status().totals.admitted, 0);
}

/// Blocking work that its runtime never came to says so, and gives its permit back.
#[test]
fn a_runtime_that_ends_first_is_an_error() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let ending = runtime();
    let mut work = Box::pin(gate.run_blocking(|| unreachable!("its runtime is gone")));
    let inside = ending.enter();
    assert!(peek(&mut work).is_pending());
    drop(inside);
    drop(ending);
    drop(held);
    assert_eq!(runtime().block_on(work), Err::<(), _>(AcquireError::NoRuntime { gate: NAME }));
    assert_at_rest(&gate);
}

/// A runtime that is dropped with holders and waiters takes nothing with it: the next one goes on.
#[test]
fn a_dropped_runtime_leaves_the_gate_usable() {
    let gate = gate(2);
    let first = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for _ in 0..8 {
        let handle = gate.clone();
        first.spawn(async move { handle.run(pending::<()>()).await });
        let handle = gate.clone();
        let hour = std::time::Duration::from_secs(3600);
        first.spawn(async move { handle.request().max_wait(hour).run(pending::<()>()).await });
    }
    crate::support::until_waiting(&gate, 14);
    drop(first);
    assert_at_rest(&gate);
    assert_eq!(runtime().block_on(gate.request().weight(2).run(async { "on" })), Ok("on"));
    assert_at_rest(&gate);
}
