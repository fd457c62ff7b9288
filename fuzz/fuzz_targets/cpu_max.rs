//! Any bytes as the CPU quota of a cgroup, in both versions.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("cpu_max"), bytes));
