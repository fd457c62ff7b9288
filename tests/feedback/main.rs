//! Limits that follow outcomes: the laws that hold for every rule, the rules on servers in simulated time, and the record of decisions.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, the numbers of a plant are small, and the table of the rows is printed"
)]

mod acceptance;
mod laws;
mod plants;
