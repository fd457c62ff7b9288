//! The gate under the model checker loom: every interleaving of a few threads, through the public API.
//!
//! These tests run only under the flag `gate_loom`, where loom replaces the gate's lock and atomics, in the package
//! `tests/checkers`. `.ci/run loom` runs them. `.ci/run loom-deep` runs the models of three threads with more preemptions than the
//! checks of a change have time for. docs/ORDERING.md says which model guards which claim.
//!
//! A request is a future that owns a handle of its gate, so that any thread can poll or drop it. The wakers
//! only count their wake-ups, and no request is polled unless a model does it. At the end of a model,
//! `TestGate::finish` polls the requests that were woken, until no woken request is left. A request that
//! still waits then has lost its wake-up.

#![cfg(gate_loom)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod admission;
mod drained;
mod handles;
mod limit;
mod several;
mod tree;

mod harness;
