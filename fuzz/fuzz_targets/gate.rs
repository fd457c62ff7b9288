//! Random steps on a gate, each held against the oracle that the random runs of the tests use.

#![no_main]

#[expect(dead_code, reason = "the fuzzer goes by coverage and does not count")]
#[path = "../../tests/model/gate.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    model::drive(bytes);
});
