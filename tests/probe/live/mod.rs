//! The probes on this host.
//!
//! `readings` changes nothing. The tests of the other modules change their own process or its cgroups, each
//! in a child process.

mod readings;

mod process_changes;

mod hidden_files;
mod other_detectors;
mod real_cgroups;
mod v2_guest;
