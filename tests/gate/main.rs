//! The promises of a gate (docs/GUARANTEES.md), one test per promise.
//!
//! Most tests poll futures by hand or use tokio's paused clock, so that their outcome depends on no timing.
//! The modules `faults`, `storm` and `tree_storm` use real threads, runtimes and processes; a time limit there only detects
//! that a test hangs.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod hooks;
mod support;

mod acquire_all;
mod fairness;
mod nested;
mod permits;
mod poll_gate;
mod queue_bounds;
mod rejection;
mod resize;

mod cancellation;
mod close_and_drain;
mod deadline;
mod timer;

mod blocking;
mod budget;
mod holders;
mod pause;
mod run;
mod shed;
mod status;
mod tree;

mod hostile_wakers;
mod intrusive_list;
mod leaked_futures;
mod reentrant_wakers;
mod wakers;

mod faults;
mod storm;
mod tree_storm;
