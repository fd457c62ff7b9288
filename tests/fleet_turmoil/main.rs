//! The clients of a fleet under the network simulator turmoil: the driver that renews leases and the gate that it feeds, with a ledger on
//! another host.
//!
//! What `tests/fleet/simulation.rs` leaves out is real here: the tasks of the client and their timers, TCP connections that break and are
//! made again, and requests that wait at a gate. Only there are clocks with different rates, and processes that are
//! suspended as a whole.
//!
//! These tests run only under the flag `fleet_turmoil`, in the package `tests/checkers`. `.ci/run turmoil` runs them, and
//! `.ci/run turmoil 10000` runs more seeds. A failure prints its seed; `.ci/run turmoil 1 SEED` repeats it.

#![cfg(fleet_turmoil)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod audit;
mod faults;
mod ledger;
mod network;
#[path = "../fleet/random.rs"]
mod random;
mod workers;
