//! The gate, and the pool on it, under a scheduler of random orders: more threads, and longer lives, than the model checker
//! gets through.
//!
//! Runs only under `--cfg gate_shuttle`, where shuttle stands in for their locks and atomics: `.ci/run shuttle`, or
//! `.ci/run shuttle 1000000` for more orders. `GATE_SHUTTLE_SEED` takes others. A failure prints its order; with that as
//! `GATE_SHUTTLE_ORDER`, and the name of the test, just that order is run again:
//!
//! ```sh
//! GATE_SHUTTLE_ORDER=91022ae0.. .ci/run shuttle 1 storm_of_all
//! ```
//!
//! Every access is sequentially consistent here, so what an order of memory is for is the model checker's to show. A
//! thread that waits for a permit is parked until its waker unparks it: a call that is lost leaves it there, and ends the
//! test as a deadlock. Timers are not modelled; a request that is polled a few times and dropped stands for one whose
//! deadline passes.

#![cfg(gate_shuttle)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this is a test"
)]

#[path = "shuttle/governed.rs"]
mod governed;
#[path = "shuttle/handles.rs"]
mod handles;
#[path = "shuttle/hostile.rs"]
mod hostile;
#[path = "shuttle/pool.rs"]
mod pool;
#[path = "shuttle/storm.rs"]
mod storm;

#[path = "gate/hooks.rs"]
mod hooks;
#[path = "shuttle/scene.rs"]
mod scene;
