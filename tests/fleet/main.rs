//! One limit for many processes: the exchange against an oracle, the rules by scenarios, and the protocol under faults.

#![cfg(feature = "fleet")]
#![cfg_attr(
    feature = "fleet",
    expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::print_stderr,
        clippy::unwrap_used,
        reason = "a test that panics has failed, and the numbers of a test are small"
    )
)]

mod flaky;
mod oracle;
mod random;
mod trace;
mod waiting;

mod caps;
#[cfg(all(unix, any(feature = "redis", feature = "postgres")))]
mod engines;
mod exchange;
mod governed;
mod leave;
mod pool;
mod rules;
mod shared_gate;
mod simulation;
mod unreachable;
