//! What the engine answers.

use std::time::Duration;

use crate::plan::Limit;

/// What a request meets on arrival.
#[derive(Debug)]
pub(super) enum Arrival {
    Admitted,
    /// Nothing has happened: the request may join the line.
    MustWait,
    Refused(Refusal),
}

/// What became of a request that waits no more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Admitted,
    Refused(Refusal),
}

/// Why a request that would wait is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Barred(Barred),
    QueueFull { bound: usize },
    Expired { waited: Duration },
}

/// Why a request that would not wait is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TryRefusal {
    Barred(Barred),
    NoPermits,
}

/// Why a request cannot be admitted however long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    Closed,
    TooLarge { weight: u32, limit: Limit },
    ZeroWeight,
}
