//! Any bytes as a host's memory, and as a group's.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("meminfo"), bytes));
