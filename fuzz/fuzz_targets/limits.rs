//! Any bytes as the limits of a process and of the kernel.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("limits"), bytes));
