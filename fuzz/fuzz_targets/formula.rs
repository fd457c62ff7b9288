//! Any bytes as a formula: parsed, printed, parsed again, and evaluated on several hosts against the oracle.

#![no_main]

#[path = "../../tests/plan/model/formula.rs"]
mod formula;
#[path = "../../tests/plan/model/oracle.rs"]
mod oracle;
#[path = "../../tests/plan/model/resolution.rs"]
mod resolution;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| formula::check_bytes(bytes));
