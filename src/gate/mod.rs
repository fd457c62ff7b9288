//! Gates limit how much work is in flight. The limit may change at any time.
//!
//! A [`Gate`] admits requests while the sum of their weights is within its limit. An admitted request holds a [`Permit`] until the permit
//! is dropped. [`Gate::run`] and [`Gate::run_blocking`] hold the permit for you.
//!
//! - **No request overtakes another** at a *standalone* gate. Such a gate has no parent, was not created to have children or keys, does not
//!   shed, and does not track its holders. While a request waits there, each new request waits behind it, even if the new one would fit
//!   and the first does not, and [`try_acquire`](Gate::try_acquire) is rejected. All other gates admit by priority and fair share.
//! - **A lowered limit revokes no permit.** Permits in use above it are *debt*. No request is admitted until the debt is
//!   paid, and released permits pay it first. A raised limit admits waiting requests in their order, for as long as the next
//!   one fits.
//! - **No permit is lost.** A dropped request leaves the queue at once; if it was admitted, its permits go to the next waiters.
//!   No panic, runtime shutdown or misbehaving waker loses a permit.
//!
//! # Reading the code
//!
//! The files from the public API downwards. A file imports only from the rows below it, or from its own row.
//!
//! ```text
//! attempt                                  a permit that reports the outcome of its work
//! nested                                   requests for parts of work that has a permit
//! request, poll_gate                       acquire, try_acquire and run; a gate with one pending request, for code that is polled
//! acquire_all                              permits of several gates at once
//! blocking, drained                        the request of a blocked thread; waiting for the end of all work
//! acquire, acquire_in_tree, cancel         the request of a future; the same for a gate in a tree; cancellation
//! permit                                   released on drop
//! inspect, leased                          detection of overdue permits, stalls and wait cycles; the demand of a leased gate
//! handle                                   Gate and its builder
//! expiry                                   deadlines: what happens when a timer fires
//! shared, tree                             one gate: the permits, the lock, the counters; gates that share a lock
//! lock                                     the lock, and the steps that run under it
//! state/                                   the rules of admission behind the lock
//! queue/, permits/, holders/, stats        the wait queue; the atomic word of the fast path, which is also the lock; the reports of gates
//!                                          that track their holders; statistics
//! timer/, wake_list, wait_sampler          one timer per runtime; what is woken after unlocking; which waits are measured
//! outcomes, counters, recent_clock         samples of the outcomes of work; counters of the fast path; a clock for tracked holders
//! status, error                            reports; rejections
//! histogram, key, priority, number         wait times; keys; priorities; the order of creation
//! clock, sync                              nanoseconds; atomics
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
mod tree;

mod lock;
mod state;

mod holders;
mod permits;
mod queue;
mod stats;

mod counters;
mod outcomes;
mod recent_clock;
mod timer;
pub(crate) mod wait_sampler;
mod wake_list;

mod error;
mod status;

pub(crate) mod clock;
mod histogram;
mod key;
mod number;
mod priority;
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
pub(crate) use acquire::reject;
#[cfg(feature = "fleet")]
pub(crate) use attempt::sealed::HasGate;
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
