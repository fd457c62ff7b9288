//! Random steps on a gate, each held against the oracle that the property tests use.

#![no_main]

#[path = "../../tests/model/gate.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(bytes));
