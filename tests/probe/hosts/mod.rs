//! The probes on other hosts than this machine: captured directory trees, and files that a test holds in
//! memory.

mod host;

mod captured;

mod cgroups;
mod cpu;
mod memory;
mod open_files;
mod pressure;
mod tasks;
