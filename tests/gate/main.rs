//! What a gate promises, one test a promise. Nothing here sleeps: futures are polled by hand, or time is paused.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

/// Of gates that do not, the same is tested in `tests/gate_unmeasured.rs`.
const MEASURES: bool = true;

mod hooks;
mod support;

mod blocking;
mod chain;
mod deadline;
mod drain;
mod hostile;
mod leaving;
mod order;
mod reentry;
mod refusal;
mod resize;
mod run;
mod timer;
mod told;
mod wakers;
