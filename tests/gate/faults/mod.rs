//! A gate among real faults: descriptors that run out, workers that stand still, runtimes that go, tasks that panic or
//! are aborted, a process that forks.
//!
//! Where a fault is the clock's, the real one runs here; nothing but a hang is judged by how long it took.

mod support;

mod descriptors;
#[cfg(unix)]
mod fork;
mod runtimes;
mod tasks;
mod workers;
