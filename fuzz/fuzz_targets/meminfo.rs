//! Any bytes as the memory of a host and of a cgroup.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("meminfo"), bytes));
