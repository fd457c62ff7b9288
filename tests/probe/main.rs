//! The probes: on hosts that are captured or built by a test, on this host, and while a host changes.
//!
//! The tests run in parallel threads of one process. A test that changes its process (its resource limits,
//! its affinity, its cgroup) or counts what the process has open therefore runs in a child process.
//! [`support::child`] starts it.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod support;

mod portable;

#[cfg(target_os = "linux")]
mod hosts;

#[cfg(target_os = "linux")]
mod laws;
#[cfg(target_os = "linux")]
mod model;

#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod watch;
