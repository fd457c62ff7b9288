//! The probes while the host changes: what is told at once, what is looked for, and what nobody must miss.
//!
//! The hosts are directories, whose files change as those of a running host do; `tests/probe_live.rs` has the real ones.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "probe_watch/support.rs"]
mod support;

#[path = "probe_watch/missed.rs"]
mod missed;
#[path = "probe_watch/process.rs"]
mod process;
#[path = "probe_watch/runtimes.rs"]
mod runtimes;
#[path = "probe_watch/stalls.rs"]
mod stalls;
#[path = "probe_watch/told.rs"]
mod told;
