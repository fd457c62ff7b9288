//! A gate under real faults: file descriptors run out, workers are blocked, runtimes shut down, tasks panic
//! or are aborted, and the process forks.
//!
//! The deadlines here run on the real clock. A time limit only detects that a test hangs.

mod descriptors;
#[cfg(unix)]
mod fork;
mod runtimes;
mod tasks;
mod workers;
