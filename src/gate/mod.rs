//! Gates limit how much work is in flight. The limit may change at any time.
//!
//! A [`Gate`] admits requests first come, first served, weights included. An admitted request holds a [`Permit`] until it is
//! dropped. [`Gate::run`] and [`Gate::run_blocking`] hold the permit for you.
//!
//! - **No request overtakes another.** While a request waits, each new request waits behind it, even if the new one would fit
//!   and the first does not, and [`try_acquire`](Gate::try_acquire) is rejected.
//! - **A lowered limit revokes no permit.** Permits in use above it are *debt*. No request is admitted until the debt is
//!   paid, and released permits pay it first. A raised limit admits waiting requests from the head of the queue, for as long as
//!   the head fits.
//! - **No permit is lost.** A dropped request leaves the queue at once; if it was admitted, its permits go to the next waiters.
//!   No panic, runtime shutdown or misbehaving waker loses a permit.
//!
//! # Reading the code
//!
//! From the surface downwards; no file imports one of a row above it.
//!
//! ```text
//! attempt                          a permit that reports the outcome of its work
//! nested                           requests for parts of work that has a permit
//! request                          what callers use: acquire, try_acquire, run
//! poll_gate                        a gate with one pending request, for code that is polled
//! acquire, blocking, drained       a request as a future, as a blocked thread; waiting for the end
//! acquire_in_tree, cancel          the same at a gate of a tree; a request that is given up
//! acquire_all                      permits of several gates at once
//! permit                           released on drop
//! handle, inspect                  Gate and its builder; looking for what does not move
//! leased                           what a lease needs of the gate that it bounds
//! expiry                           deadlines: what happens when a timer fires
//! shared, tree                     one gate: the permits, the lock, the counters; gates that share a lock
//! state/                           the rules of admission behind the lock
//! queue/, permits/                 the wait queue; the atomic word of the fast path, which is also the lock
//! timer/, wake_list, wait_sampler  one timer per runtime; what is woken after the lock; which waits are measured
//! status, error                    reports; rejections
//! histogram, counters, clock, sync wait times; counters of the fast path; nanoseconds; atomics
//! recent_clock                     a clock for gates that track their holders
//! holders/                         records of the permits in use, at gates that track them
//! outcomes                         samples of the outcomes of work, for limits that follow them
//! ```

mod attempt;
mod nested;
mod poll_gate;
mod request;

mod acquire;
mod acquire_all;
mod acquire_in_tree;
mod blocking;
mod cancel;
mod drained;
mod permit;

mod handle;
mod inspect;
#[cfg(feature = "fleet")]
mod leased;

mod expiry;
mod shared;
mod state;
mod tree;

mod permits;
mod queue;
mod timer;

mod books;
pub(crate) mod clock;
mod core;
mod counters;
mod histogram;
mod holders;
mod key;
mod number;
mod outcomes;
mod priority;
mod recent_clock;
pub(crate) mod wait_sampler;
mod wake_list;

mod error;
mod status;
mod sync;

pub use acquire::{Acquire, AcquireOwned};
pub use acquire_all::{AcquireAll, PermitSet, acquire_all};
pub use attempt::Attempt;
pub use drained::Drained;
pub use error::{AcquireError, Overload, RetryAfter, TryAcquireError};
pub use handle::{Gate, GateBuilder, InvalidParent};
pub use histogram::{Bucket, Histogram};
pub use holders::cycle::{CycleLink, WaitCycle};
pub use holders::holder::{Holder, HolderState, Stall};
pub use key::Key;
pub use nested::{LendingPermit, NestedRequest};
pub use permit::{OwnedPermit, Permit};
pub use poll_gate::PollGate;
pub use priority::{InvalidPriority, Priority};
pub use request::Request;
pub use status::{GateStatus, GateTotals, KeyStatus, QueueTotals, RejectedTotals, Resize};

#[cfg(feature = "tracing")]
pub(crate) use acquire::AcquireFuture;
#[cfg(feature = "fleet")]
pub(crate) use attempt::sealed::OfGate;
#[cfg(feature = "fleet")]
pub(crate) use counters::UnleasedRejection;
pub(crate) use holders::holder::format_duration;
pub(crate) use holders::watch::ReportKind;
pub(crate) use inspect::wait_cycles;
#[cfg(feature = "tower")]
pub(crate) use outcomes::AttemptStart;
pub(crate) use outcomes::OutcomeReader;
#[cfg(any(feature = "fleet", feature = "metrics", feature = "tower", feature = "tracing"))]
pub(crate) use request::run_blocking;
pub(crate) use wake_list::WakeList;
