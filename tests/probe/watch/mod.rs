//! The probes while a host changes: `changed` resolves after each change, and no change is lost.
//!
//! The hosts are directories, whose files a test changes. The tests in `live` change real cgroups.

pub(crate) mod support;

mod delivery;
mod notification;
mod process;
mod runtimes;
mod stalls;
