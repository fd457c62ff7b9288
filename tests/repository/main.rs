//! Checks of the repository: its documents agree with the code, and the code obeys its layers.

#![cfg(not(any(gate_loom, gate_shuttle)))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guarantees;
mod imports;
mod layering;
mod ordering;
