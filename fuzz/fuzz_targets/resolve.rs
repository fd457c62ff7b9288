//! Random plans on random hosts with random settings, resolved and checked against the laws and the oracle.

#![no_main]

#[path = "../../tests/plan/model/oracle.rs"]
mod oracle;
#[path = "../../tests/plan/model/plan.rs"]
mod plan;
#[path = "../../tests/plan/model/resolution.rs"]
mod resolution;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plan::check_bytes(bytes));
