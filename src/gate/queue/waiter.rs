//! The data of one waiting request, and the reasons for which its wait ends.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::task::Waker;

use crate::gate::clock::{self, NEVER};
use crate::gate::error::AtLevel;
use crate::gate::holders::record::RecordId;
use crate::gate::priority::Priority;
use crate::gate::timer::TimerId;
use crate::plan::Limit;

/// The state of a request, from its creation to its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::gate) enum WaiterState {
    /// The request has not been enqueued yet.
    Idle = 0,
    /// The request is in the queue.
    Waiting = 1,
    /// The request is in the queue, and was woken because it must register its deadline with another timer.
    TimerLost = 2,
    /// The request is in the queue, and its task was woken although the wait goes on. The owner must store a new waker.
    WokenEarly = 3,
    /// The permits are counted as in use for this request.
    Admitted = 4,
    /// As `Admitted`, at a gate that tracks its holders: the permits have a record.
    AdmittedTracked = 5,
    /// The gate was closed.
    Closed = 6,
    /// The limit was lowered below the weight of the request.
    TooLarge = 7,
    /// The deadline passed.
    Expired = 8,
    /// The request was pushed out of a full queue to make room for another one.
    QueueFull = 9,
    /// The request was shed under overload.
    Shed = 10,
    /// The owner has taken the result, or has cancelled the request.
    Done = 11,
    /// The request has not been enqueued yet, and the fast path must not admit it: its deadline is checked first.
    StrictlyIdle = 12,
}

impl WaiterState {
    #[inline]
    pub(super) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Idle,
            1 => Self::Waiting,
            2 => Self::TimerLost,
            3 => Self::WokenEarly,
            4 => Self::Admitted,
            5 => Self::AdmittedTracked,
            6 => Self::Closed,
            7 => Self::TooLarge,
            8 => Self::Expired,
            9 => Self::QueueFull,
            10 => Self::Shed,
            _ => Self::Done,
        }
    }

    #[inline]
    pub(in crate::gate) const fn is_queued(self) -> bool {
        matches!(self, Self::Waiting | Self::TimerLost | Self::WokenEarly)
    }

    /// Returns `true` if the request is in the queue or has permits. One comparison: benchmark row `cancel-100k`.
    #[inline]
    pub(in crate::gate) const fn must_be_cancelled(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::TimerLost | Self::WokenEarly | Self::Admitted | Self::AdmittedTracked
        )
    }

    /// Returns `true` if permits are counted as in use for the request.
    #[inline]
    pub(in crate::gate) const fn has_permits(self) -> bool {
        matches!(self, Self::Admitted | Self::AdmittedTracked)
    }
}

/// The rules that a request chooses for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct WaiterRules {
    /// A deadline that has passed on arrival rejects the request even if it fits.
    pub(in crate::gate) is_strict: bool,
    /// The request waits while its weight is above the limit.
    pub(in crate::gate) waits_for_limit: bool,
    pub(in crate::gate) priority: Priority,
}

impl WaiterRules {
    pub(in crate::gate) const DEFAULT: Self =
        Self { is_strict: false, waits_for_limit: false, priority: Priority::Normal };
}

/// When the wait of a request ends at the latest, as the request asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct WaitBounds {
    /// The longest wait in nanoseconds, or [`NEVER`].
    pub(in crate::gate) max_wait: i64,
    /// An instant of the [clock](crate::gate::clock), or [`NEVER`].
    pub(in crate::gate) deadline: i64,
}

impl WaitBounds {
    pub(in crate::gate) const NONE: Self = Self { max_wait: NEVER, deadline: NEVER };

    #[inline]
    pub(in crate::gate) const fn is_none(self) -> bool {
        self.max_wait == NEVER && self.deadline == NEVER
    }

    /// Returns the instant at which a wait that begins now ends at the latest, or [`NEVER`]. `max_wait` is that of the gate.
    pub(in crate::gate) fn end(self, now: i64, max_wait: i64) -> i64 {
        clock::add_nanos(now, max_wait.min(self.max_wait)).min(self.deadline)
    }
}

/// One request in the queue. Instants are nanoseconds of the [clock](crate::gate::clock).
#[derive(Clone, Copy, Debug)]
#[repr(C)] // in this order, because most removals need only the last fields
pub(in crate::gate) struct WaitingRequest {
    /// The instant at which the wait began, or 0 if it is not needed: the wait is not measured, has no deadline, and no gate on its path
    /// sheds. On removal, [`Removal::detail`] replaces it.
    pub(in crate::gate) since: i64,
    /// The instant at which the wait ends at the latest. Not used if `timer` is `NONE`, unless a gate of the tree sheds.
    pub(in crate::gate) deadline: i64,
    pub(in crate::gate) weight: u32,
    /// The timer that ends the wait at the deadline, or [`TimerId::NONE`].
    pub(in crate::gate) timer: TimerId,
    /// The number of waits that this one represents in the histogram; 0 if it is not measured.
    pub(in crate::gate) sample: u16,
}

/// Why a request leaves the queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) enum Removal {
    Admitted,
    /// As `Admitted`, at a gate that tracks its holders: this is the record of the permits.
    AdmittedTracked(RecordId),
    Cancelled,
    /// The gate at this level was closed: 0 is the gate of the request, 1 its parent, and so on.
    Closed {
        level: u8,
    },
    /// The limit at this level is now below the weight.
    TooLarge {
        level: u8,
        limit: Limit,
    },
    /// The queue at this level is full, and the request was pushed out: the last one of the lowest priority in its leaf.
    QueueFull {
        level: u8,
        bound: u32,
    },
    /// The deadline has passed at this instant.
    Expired(i64),
    /// The gate at this level is overloaded, and sheds the request. `retry_after` is the time in nanoseconds after which it
    /// should be made again.
    Shed {
        level: u8,
        now: i64,
        retry_after: Option<i64>,
    },
}

impl Removal {
    #[inline]
    pub(super) const fn state(self) -> WaiterState {
        match self {
            Self::Admitted => WaiterState::Admitted,
            Self::AdmittedTracked(_) => WaiterState::AdmittedTracked,
            Self::Cancelled => WaiterState::Done,
            Self::Closed { .. } => WaiterState::Closed,
            Self::TooLarge { .. } => WaiterState::TooLarge,
            Self::QueueFull { .. } => WaiterState::QueueFull,
            Self::Expired(_) => WaiterState::Expired,
            Self::Shed { .. } => WaiterState::Shed,
        }
    }

    /// Returns the record of the permits, if the removal grants permits that have one.
    #[inline]
    pub(super) const fn record(self) -> RecordId {
        match self {
            Self::AdmittedTracked(record) => record,
            _ => RecordId::NONE,
        }
    }

    /// Returns the value that the owner needs: the record of its permits, the nanoseconds waited, or an encoded [`AtLevel`].
    #[inline]
    pub(super) fn detail(self, since: i64) -> Option<i64> {
        match self {
            Self::TooLarge { level, limit } => Some(AtLevel::new(level, limit.get().into()).to_detail()),
            Self::QueueFull { level, bound } => Some(AtLevel::new(level, bound.into()).to_detail()),
            Self::Closed { level } => Some(AtLevel::new(level, 0).to_detail()),
            Self::AdmittedTracked(record) => Some(record.to_detail()),
            Self::Admitted | Self::Cancelled => None,
            Self::Expired(now) => Some(now.saturating_sub(since)),
            Self::Shed { level, now, retry_after } => {
                let waited = AtLevel::of_time(level, now.saturating_sub(since));
                Some(waited.with_retry_after(retry_after).to_detail())
            }
        }
    }
}

/// A request that was removed from the queue.
#[derive(Debug)]
#[must_use = "the waker must be woken or dropped after the lock is released"]
pub(in crate::gate) struct Removed {
    /// `None` if the request was woken before, because its timer was lost or it was woken early.
    pub(in crate::gate) waker: Option<Waker>,
    pub(in crate::gate) was_head: bool,
    // As in `WaitingRequest`. The instants are 0 if a request without a timer was cancelled.
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) timer: TimerId,
    pub(in crate::gate) sample: u16,
    pub(in crate::gate) since: i64,
    pub(in crate::gate) deadline: i64,
}

impl WaitingRequest {
    /// Returns the address of a request in a list, which identifies it while it is there.
    #[inline]
    pub(super) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl Removed {
    /// Drops the waker of a request whose queue is dropped.
    pub(super) fn discard(self) {
        // Catches a panic, so that the next wakers are dropped as well. The payload is leaked because its destructor may panic, too.
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(self.waker)));
        mem::forget(dropped);
    }
}
