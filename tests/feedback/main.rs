//! Limits that follow outcomes: the laws that hold for every rule, the rules on servers in virtual time, and the record of decisions.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and the table of the acceptance rows is printed"
)]

mod acceptance;
mod laws;
mod plant;
