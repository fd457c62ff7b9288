//! Random plans on random hosts with random settings: their resolutions obey the laws and match the oracle.

#![no_main]

#[path = "../../tests/model/plan.rs"]
mod model;
#[path = "../../tests/model/resolution.rs"]
mod resolution;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(bytes));
