//! Any bytes as the CPU quota of a cgroup, in both versions.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("cpu_max", bytes));
