//! A gate among real faults: descriptors that run out, workers that stand still, runtimes that go, tasks that panic or
//! are aborted, a process that forks.
//!
//! Where a fault is the clock's, the real one runs here; nothing but a hang is judged by how long it took.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "gate_faults/support.rs"]
mod support;

#[path = "gate_faults/descriptors.rs"]
mod descriptors;
#[cfg(unix)]
#[path = "gate_faults/fork.rs"]
mod fork;
#[path = "gate_faults/runtimes.rs"]
mod runtimes;
#[path = "gate_faults/tasks.rs"]
mod tasks;
#[path = "gate_faults/workers.rs"]
mod workers;
