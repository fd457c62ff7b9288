//! Any bytes as `/proc/meminfo`, or as a memory file of a cgroup.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("meminfo", bytes));
