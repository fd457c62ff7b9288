//! Any bytes as a pressure file.

#![no_main]

#[path = "../../tests/model/probe_bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(Some("pressure"), bytes));
