//! What the engine answers.

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

/// Why a request that would wait is not admitted. What there is to say of it takes 64 bits in each case, so that all of it
/// is returned in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Closed,
    ZeroWeight,
    /// Under this limit.
    TooLarge {
        limit: u64,
    },
    QueueFull {
        bound: usize,
    },
    /// After so many nanoseconds.
    Expired {
        waited: u64,
    },
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
    ZeroWeight,
    TooLarge { limit: Limit },
}

impl From<Barred> for Refusal {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Closed => Self::Closed,
            Barred::ZeroWeight => Self::ZeroWeight,
            Barred::TooLarge { limit } => Self::TooLarge { limit: limit.get().into() },
        }
    }
}
