//! Any bytes as a formula: parsed, formatted, parsed again, and evaluated on several hosts, compared with the oracle.

#![no_main]

#[path = "../../tests/model/formula.rs"]
mod model;
#[path = "../../tests/model/resolution.rs"]
mod resolution;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(bytes));
