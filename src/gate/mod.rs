//! Gates: how much work is in flight, held to a limit that may change at any time.
//!
//! A [`Gate`] admits requests first come, first served, weights included. An admitted request holds a [`Permit`] until it is
//! dropped. [`Gate::run`] and [`Gate::run_blocking`] hold the permit for you.
//!
//! - **No request overtakes another.** While a request waits, each new request waits behind it, even if the new one would fit
//!   and the first does not, and [`try_acquire`](Gate::try_acquire) is rejected.
//! - **A lowered limit revokes no permit.** Permits in use above it are *debt*. No request is admitted until the debt is
//!   paid, and released permits pay it first. A raised limit admits exactly the waiting requests that now fit, in order.
//! - **No permit is lost.** A request that is dropped leaves the queue at once, and passes on what it was admitted with. No
//!   panic, runtime shutdown or waker costs a permit, however it misbehaves.
//!
//! # Reading the code
//!
//! From the surface downwards; each file imports only from those below it.
//!
//! ```text
//! request                          what callers use: acquire, try_acquire, run
//! acquire, blocking, drained       a request as a future, as a blocked thread; waiting for the end
//! permit                           released on drop
//! handle                           Gate and its builder
//! expiry                           deadlines: what happens when a timer fires
//! shared                           one gate: the permits, the lock, the counters
//! state/                           the rules of admission behind the lock
//! timer/, queue/, permits/         one timer per runtime; the wait queue; the atomic word of the fast path
//! wake_list, wait_sampler,         what is woken after the lock; which waits are measured;
//! counters, histogram, clock       counters of the fast path; wait times; nanoseconds
//! status, error, sync              reports; rejections; atomics and the lock
//! ```

mod request;

mod acquire;
mod blocking;
mod drained;
mod permit;

mod handle;

mod expiry;
mod shared;
mod state;

mod permits;
mod queue;
mod timer;

pub(crate) mod clock;
mod counters;
mod histogram;
mod wait_sampler;
mod wake_list;

mod error;
mod status;
mod sync;

pub use acquire::{Acquire, AcquireOwned};
pub use drained::Drained;
pub use error::{AcquireError, TryAcquireError};
pub use handle::{Gate, GateBuilder};
pub use histogram::{Bucket, Histogram};
pub use permit::{OwnedPermit, Permit};
pub use request::Request;
pub use status::{GateStatus, GateTotals, QueueTotals, RejectedTotals, Resize};

#[cfg(feature = "tracing")]
pub(crate) use acquire::AcquireFuture;
pub(crate) use wake_list::WakeList;
