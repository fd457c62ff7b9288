//! Any bytes as `/proc/self/mountinfo`, the mounts of a host.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("mountinfo", bytes));
