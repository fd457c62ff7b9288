//! Random plans on random hosts under random settings, resolved and held to the laws and the oracle.

#![no_main]

#[path = "../../tests/model/plan.rs"]
mod model;
#[path = "../../tests/model/resolution.rs"]
mod resolution;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::drive(bytes));
