//! Measurement on Linux, from `/proc`, `/sys` and system calls.
//!
//! The layers, from the bottom up: `parse` turns bytes into values, `host` reads and caches files, `read` collects
//! the limits of one kind in a measurement, and `watch` waits for changes. What cannot be read or parsed never lowers
//! a number: it adds a note and makes the bound `AtMost`.

mod host;
mod parse;
pub(in crate::probe) mod read;
mod watch;

#[cfg(test)]
mod tests;

pub use host::Roots;
pub(super) use host::{CgroupController, HostReader, RecordedPath, SharedHostReader};
pub(super) use parse::process_limits::RlimitPair;
pub(super) use parse::psi::PsiStalls;
pub(super) use read::MeasurementBuilder;
pub(super) use watch::{ChangeWatcher, PsiTrigger, WatchedMeasurement};
