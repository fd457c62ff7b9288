//! What a gate promises, of gates that do not measure waits, where the ways into the line and out of it are shorter: the tests
//! of `tests/gate/`.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

const MEASURES: bool = false;

#[path = "gate/hooks.rs"]
mod hooks;
#[path = "gate/support.rs"]
mod support;

#[path = "gate/blocking.rs"]
mod blocking;
#[path = "gate/chain.rs"]
mod chain;
#[path = "gate/deadline.rs"]
mod deadline;
#[path = "gate/drain.rs"]
mod drain;
#[path = "gate/hostile.rs"]
mod hostile;
#[path = "gate/leaving.rs"]
mod leaving;
#[path = "gate/order.rs"]
mod order;
#[path = "gate/reentry.rs"]
mod reentry;
#[path = "gate/refusal.rs"]
mod refusal;
#[path = "gate/resize.rs"]
mod resize;
#[path = "gate/run.rs"]
mod run;
#[path = "gate/timer.rs"]
mod timer;
#[path = "gate/told.rs"]
mod told;
#[path = "gate/wakers.rs"]
mod wakers;
