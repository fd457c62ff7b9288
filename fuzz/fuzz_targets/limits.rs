//! Any bytes as `/proc/self/limits`, or as another file that limits a process.

#![no_main]

#[path = "../../tests/probe/model/bytes.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::check("limits", bytes));
