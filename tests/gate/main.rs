//! What a gate promises, one test a promise. Nothing here sleeps: futures are polled by hand, or time is paused.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

/// Of gates that do not, the same is tested in `tests/gate_unmeasured.rs`.
const MEASURES: bool = true;

mod hooks;
mod support;

mod blocking;
mod cancellation;
mod close_and_drain;
mod deadline;
mod fairness;
mod faults;
mod hostile_wakers;
mod intrusive_list;
mod reentrant_wakers;
mod rejection;
mod resize;
mod run;
mod status;
mod storm;
mod timer;
mod wakers;
