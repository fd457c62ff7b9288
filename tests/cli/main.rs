//! The program as its users meet it: what it prints, what it rejects, and what it derives from real limits.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that panics has failed")]

mod adaptive;
mod capture;
mod check;
mod diff;
mod errors;
mod explain;
mod fleet_simulation;
mod nested;
mod output;
mod overload;
mod plant;
mod shared;
mod shell_pages;
mod simulate;
mod support;
mod tenants;
mod watch;
