//! The gate under a model checker: every way in which a few threads can meet in it, through the public surface.
//!
//! Runs only under `--cfg gate_loom`, where loom stands in for the gate's lock and atomics: `.ci/run loom`, or
//! `.ci/run loom-deep` for the models of three threads with more preemptions than fit a change's checks. What each model
//! holds stands in docs/ORDERING.md.
//!
//! A request is a future that owns its gate, so that any thread can poll or drop it. Wakers only count: nobody is
//! polled for being in line. At the end of each model those who were woken are polled and give back what they got,
//! until nobody is woken any more; whoever is in line then was lost. After each run the gate's place has to have been
//! given back, once (`src/gate/inner.rs` sees to that).

#![cfg(gate_loom)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this is a test"
)]

#[path = "loom/admission.rs"]
mod admission;
#[path = "loom/drained.rs"]
mod drained;
#[path = "loom/handles.rs"]
mod handles;
#[path = "loom/limit.rs"]
mod limit;
#[path = "loom/lock.rs"]
mod lock;

#[path = "loom/scene.rs"]
mod scene;
