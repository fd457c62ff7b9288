//! Any bytes as `/proc/self/cgroup`, the cgroups of a process.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("cgroup", bytes));
