//! Any bytes as a pressure file.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("pressure", bytes));
