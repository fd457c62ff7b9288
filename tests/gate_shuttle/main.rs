//! The gate, and the pool on top of it, under the randomized scheduler shuttle: more threads and longer
//! executions than the model checker can handle.
//!
//! These tests run only under the flag `gate_shuttle`, where shuttle replaces the locks and atomics, in the package
//! `tests/checkers`. `.ci/run shuttle` runs them; `.ci/run shuttle 1000000` checks more schedules, and `GATE_SHUTTLE_SEED` selects other
//! ones. A failure prints its schedule. To repeat only that schedule, set `GATE_SHUTTLE_ORDER` to it and name
//! the test:
//!
//! ```sh
//! GATE_SHUTTLE_ORDER=91022ae0.. .ci/run shuttle 1 all_operations_at_once
//! ```
//!
//! Shuttle makes every atomic access sequentially consistent; memory orderings are checked by
//! `tests/gate_loom`. A thread that waits for a permit is parked until its waker unparks it. If a wake-up is
//! lost, the thread stays parked and the test ends as a deadlock. Timers are not modelled: a request that is
//! polled a few times and then dropped stands for a request whose deadline passes.

#![cfg(gate_shuttle)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod governor;
mod handles;
mod pool;
mod storm;
mod tree;
mod wakers;

mod harness;
#[path = "../gate/hooks.rs"]
mod hooks;
use harness as scene; // the name under which `pool` imports it
