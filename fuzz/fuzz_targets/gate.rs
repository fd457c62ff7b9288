//! Random steps on a gate, each compared with the oracle that the random tests use.

#![no_main]

#[expect(
    dead_code,
    unused_imports,
    reason = "the fuzzer is guided by code coverage and does not count events"
)]
#[path = "../../tests/gate_model/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    model::run(bytes);
});
