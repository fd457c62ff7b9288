//! Checks of the repository: its documents agree with the code, with the program and with each other, and the code obeys
//! its layers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cookbook;
mod documents;
mod errors;
mod guarantees;
mod manifests;
mod pages;
#[cfg(feature = "cli")]
mod program;
mod readme;

mod imports;
mod layering;
mod ordering;
