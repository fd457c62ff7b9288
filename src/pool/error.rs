//! The errors of checkouts, and of adding an item.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::checkout_timeout::CheckoutTimeout;
use super::create_error::CreateError;
#[cfg(feature = "fleet")]
use crate::fleet::Unleased;
use crate::gate::{AcquireError, TryAcquireError};
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_with_causes;

/// Why a checkout got no item. The pool itself goes on.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// The gate rejected the checkout on arrival, or the gate or the pool was closed.
    #[error(transparent)]
    Rejected(AcquireError),
    /// The deadline of the checkout passed, or the longest wait of the request, the pool or the gate.
    #[error(transparent)]
    DeadlineExceeded(Box<CheckoutTimeout>),
    /// The wait is over, and the gate, which shares its limit with other processes, has no permits from its ledger.
    #[cfg(feature = "fleet")]
    #[error("the deadline of a checkout passed after it had waited {waited:?}: {unleased}")]
    Unleased {
        /// Why the gate has no permits.
        unleased: Box<Unleased>,
        /// How long the checkout had waited.
        waited: Duration,
    },
    /// The item could not be created.
    #[error(transparent)]
    Create(CreateError),
    /// Creating items has failed, and no attempt was made for this checkout; see
    /// [`DuringBackoff::Reject`](super::DuringBackoff::Reject) and
    /// [`FailureVerdict::GiveUp`](super::FailureVerdict::GiveUp).
    #[error("{}", describe_backoff(.error.gate(), *.retry_after))]
    BackingOff {
        /// The last failure.
        #[source]
        error: CreateError,
        /// The time until the next attempt. `None` if the pool makes none before [`Pool::retry_now`](super::Pool::retry_now).
        retry_after: Option<Duration>,
    },
}

impl CheckoutError {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            Self::DeadlineExceeded(timeout) => timeout.gate,
            #[cfg(feature = "fleet")]
            Self::Unleased { unleased, .. } => unleased.gate,
            Self::Create(error) | Self::BackingOff { error, .. } => error.gate(),
        }
    }
}

fn describe_backoff(gate: GateName, retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(delay) => format!(
            "the pool of gate `{gate}` has no idle item and could not create one: the next attempt is in {delay:?}"
        ),
        None => format!(
            "the pool of gate `{gate}` has no idle item and does not try to create one after a permanent error: \
             remove its cause, and call `Pool::retry_now`"
        ),
    }
}

/// Why a checkout that does not wait got no item.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryCheckoutError {
    /// The gate rejected the checkout.
    #[error(transparent)]
    Rejected(TryAcquireError),
    /// The gate, which shares its limit with other processes, has no permits from its ledger.
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    Unleased(Box<Unleased>),
    /// The gate has a permit, but no item is idle, and creating one takes time.
    #[error("the pool of gate `{gate}` has no idle item: wait for one with `checkout`, or raise `min_idle`")]
    NoneIdle {
        /// The pool's gate.
        gate: GateName,
    },
}

impl TryCheckoutError {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            #[cfg(feature = "fleet")]
            Self::Unleased(unleased) => unleased.gate,
            Self::NoneIdle { gate } => *gate,
        }
    }
}

/// Why an item was not added to a pool. It returns the item.
#[non_exhaustive]
pub enum AddError<I> {
    /// As many items are live as the limit allows: of this pool, or of all pools of its group.
    Full {
        /// The pool's gate.
        gate: GateName,
        /// The limit.
        limit: usize,
        /// The item.
        item: I,
    },
    /// The pool is closed.
    Closed {
        /// The pool's gate.
        gate: GateName,
        /// The item.
        item: I,
    },
}

impl<I> AddError<I> {
    /// Returns the item that was not added.
    pub fn into_item(self) -> I {
        match self {
            Self::Full { item, .. } | Self::Closed { item, .. } => item,
        }
    }
}

impl<I> fmt::Display for AddError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { gate, limit, .. } => write!(
                f,
                "the pool of gate `{gate}` cannot take another item: the limit of {limit} live items is reached; raise the \
                 limit, or drop the item"
            ),
            Self::Closed { gate, .. } => {
                write!(f, "the pool of gate `{gate}` is closed and accepts no items")
            }
        }
    }
}

impl<I> fmt::Debug for AddError<I> {
    /// Prints the text of the error, because the item need not be printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddError({self})")
    }
}

impl<I> Error for AddError<I> {}

impl_debug_with_causes!(CheckoutError, TryCheckoutError);
