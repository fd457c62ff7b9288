//! How far a request has come, what is known of it while it waits, and what becomes of it.

use std::task::Waker;

use crate::plan::Limit;

/// How far a request has come, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not been in line.
    New,
    /// It joined the line; its [`Fate`] says the rest.
    Joined,
    /// Its owner knows what became of it.
    Resolved,
}

/// What became of a request that joined the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It gave up.
    Left = 0,
    /// In line.
    Waiting = 1,
    /// In line, and woken to have itself watched by another timer.
    Unwatched = 2,
    /// Its permits are out in its name.
    Admitted = 3,
    /// The gate was closed.
    Closed = 4,
    /// The limit was lowered below its weight.
    TooLarge = 5,
    /// Its deadline has passed.
    Expired = 6,
}

impl Fate {
    /// So many bits tell them apart.
    const BITS: u32 = 3;

    /// The one whose number the lowest bits are.
    #[inline]
    pub(super) const fn of(state: u64) -> Self {
        match state & ((1 << Self::BITS) - 1) {
            1 => Self::Waiting,
            2 => Self::Unwatched,
            3 => Self::Admitted,
            4 => Self::Closed,
            5 => Self::TooLarge,
            6 => Self::Expired,
            _ => Self::Left,
        }
    }

    /// The state of a node whose fate in this chain it is.
    #[inline]
    pub(super) const fn in_chain(self, number: u64) -> u64 {
        number << Self::BITS | self as u64
    }

    /// Whether a node of this state is in this chain.
    #[inline]
    pub(super) const fn is_in_line_of(state: u64, number: u64) -> bool {
        state == Self::Waiting.in_chain(number) || state == Self::Unwatched.in_chain(number)
    }

    #[inline]
    pub(super) const fn is_in_line(self) -> bool {
        matches!(self, Self::Waiting | Self::Unwatched)
    }
}

/// What becomes of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    GivenUp,
    /// It goes on, and another timer has to watch it.
    Unwatched,
    Admitted,
    Closed,
    TooLarge {
        limit: Limit,
    },
    Expired {
        now: i64,
    },
}

impl End {
    #[inline]
    pub(super) const fn fate(self) -> Fate {
        match self {
            Self::GivenUp => Fate::Left,
            Self::Unwatched => Fate::Unwatched,
            Self::Admitted => Fate::Admitted,
            Self::Closed => Fate::Closed,
            Self::TooLarge { .. } => Fate::TooLarge,
            Self::Expired { .. } => Fate::Expired,
        }
    }

    /// Whether it goes on.
    #[inline]
    pub(super) const fn stays(self) -> bool {
        matches!(self, Self::Unwatched)
    }

    /// What the owner is to know of it.
    #[inline]
    pub(super) fn note(self, wait: &Wait) -> i64 {
        match self {
            Self::TooLarge { limit } => limit.get().into(),
            Self::Expired { now } => now.wrapping_sub(wait.since), // no wait is so long
            Self::GivenUp | Self::Unwatched | Self::Admitted | Self::Closed => wait.since,
        }
    }
}

/// What is known of a wait. Instants are those of the [clock](super::clock).
#[derive(Clone, Copy, Debug)]
#[repr(C)] // first what every end of a wait looks at
pub(super) struct Wait {
    pub(super) weight: u32,
    /// Which timer watches it.
    pub(super) timer: Timer,
    /// For how many waits it stands in the histogram, if for any.
    pub(super) sample: u16,
    /// When it began, where anybody may want to know. Once it has ended, what its owner is to know of that: nanoseconds
    /// waited if it has expired, the limit if it was too large.
    pub(super) since: i64,
    /// When it ends at the latest, if a timer watches it.
    pub(super) deadline: i64,
}

impl Wait {
    /// One that no timer watches.
    #[inline]
    pub(super) const fn unwatched(weight: u32, since: i64, sample: u16) -> Self {
        Self { weight, timer: Timer::NONE, sample, since, deadline: 0 }
    }
}

/// One of a gate's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer(pub(super) u16);

impl Timer {
    /// Of what nobody watches.
    pub(super) const NONE: Self = Self(u16::MAX);
}

/// A request that is in line no more.
#[derive(Debug)]
pub(super) struct Taken {
    /// Whom to wake, unless it was woken since it was last polled.
    pub(super) waker: Option<Waker>,
    pub(super) wait: Wait,
    /// Whether it was first in line.
    pub(super) was_first: bool,
}
