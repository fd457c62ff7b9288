//! Any bytes as the cgroup membership of a process.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("cgroup"), bytes));
