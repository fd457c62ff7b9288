//! The handle of a gate, and how a gate is created.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::{self, NEVER};
use super::permits::Word;
use super::shared::Shared;
use super::status::{GateStatus, Resize};
use super::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// A named, live-resizable counting gate, first come, first served.
///
/// A clone is another handle of the same gate; it costs one atomic increment. The memory of the gate is freed with its last
/// handle, permit and pending request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::{GateName, Limit, gate::Gate};
///
/// const UPLOADS: GateName = GateName::new("uploads");
/// let uploads = Gate::new(UPLOADS, Limit::new(2));
///
/// let permit = uploads.acquire().await?; // released when it is dropped
/// let sent = uploads.run(async { "sent" }).await?; // or let the gate hold the permit
/// assert_eq!(sent, "sent");
///
/// let change = uploads.resize(Limit::new(64)); // at any time, from any thread
/// assert_eq!((change.from, change.debt), (Limit::new(2), 0));
/// drop(permit);
/// # Ok(())
/// # }
/// ```
///
/// A static gate is created at its first use:
///
/// ```
/// use std::sync::LazyLock;
/// use concurrency_governor::{Gate, GateName, Limit};
///
/// static UPLOADS: LazyLock<Gate> = LazyLock::new(|| Gate::new(GateName::new("uploads"), Limit::new(8)));
/// assert!(UPLOADS.try_acquire().is_ok());
/// ```
///
/// Acquiring takes part in tokio's cooperative scheduling: a task that acquires ready permits in a loop yields to the runtime
/// from time to time. Its request keeps its permits meanwhile.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

impl Gate {
    /// Creates a gate with an unbounded queue and no maximum wait.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let uploads = Gate::new(GateName::new("uploads"), Limit::new(2));
    /// assert_eq!(uploads.limit(), Limit::new(2));
    /// ```
    #[must_use]
    pub fn new(name: impl Into<GateName>, limit: Limit) -> Self {
        Self::builder(name, limit).build()
    }

    /// Returns a builder, to bound the queue or the wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let uploads = Gate::builder(GateName::new("uploads"), Limit::new(2))
    ///     .queue(100) // request number 101 in the queue is rejected
    ///     .max_wait(Duration::from_secs(1))
    ///     .build();
    /// # let _ = uploads;
    /// ```
    pub fn builder(name: impl Into<GateName>, limit: Limit) -> GateBuilder {
        GateBuilder { name: name.into(), limit, queue: usize::MAX, max_wait: None, measures_waits: true }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.shared.name
    }

    /// Returns the limit: the largest number of permits that may be in use.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Limit::saturating(self.shared.permits.load().limit().into())
    }

    /// Sets the limit at once. Returns the old limit, the new limit and the debt.
    ///
    /// Permits in use are never revoked. If the limit is lowered below their number, the rest is debt, and no request is
    /// admitted until released permits have paid it. A waiting request whose weight is above the new limit ends with
    /// [`AcquireError::TooLarge`](super::AcquireError::TooLarge), unless it [waits for the limit](super::Request::wait_for_limit). If the limit is raised, waiting requests are
    /// admitted from the head of the queue, for as long as the head fits.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire_many(4)?;
    /// assert_eq!(jobs.resize(Limit::new(1)).debt, 3);
    /// drop(permit); // pays the debt
    /// assert_eq!(jobs.status().available, 1);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "callers need the effect, and often not the result")]
    #[inline]
    pub fn resize(&self, limit: Limit) -> Resize {
        self.shared.resize(|_| limit)
    }

    /// Raises or lowers the limit by this number, in one step: if several threads do that at once, every change counts. The limit
    /// stays in `1..=Limit::MAX`. Otherwise as [`resize`](Self::resize).
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// assert_eq!(jobs.resize_by(2).to, Limit::new(6));
    /// assert_eq!(jobs.resize_by(-10).to, Limit::MIN);
    /// ```
    #[expect(clippy::must_use_candidate, reason = "callers need the effect, and often not the result")]
    pub fn resize_by(&self, change: i64) -> Resize {
        self.shared.resize(|limit| {
            let sum = i64::from(limit.get()).saturating_add(change);
            Limit::saturating(u64::try_from(sum).unwrap_or(0))
        })
    }

    /// Sets the limit without waking. The caller wakes the waiters by dropping the list, after it releases its own lock.
    #[inline]
    pub(crate) fn resize_without_waking(&self, limit: Limit) -> (Resize, WakeList) {
        let mut wake_list = WakeList::default();
        let resize = self.shared.resize_without_waking(limit, &mut wake_list);
        (resize, wake_list)
    }

    /// Closes the gate for good: all waiting and future requests are rejected with `Closed`. Permits in use stay valid.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// jobs.close();
    /// assert!(jobs.is_closed() && jobs.try_acquire().is_err());
    /// ```
    pub fn close(&self) {
        self.shared.close();
    }

    /// Returns the number of permits in use. It costs one load; [`status`](Self::status) has all numbers of one instant.
    ///
    /// For some nanoseconds the value can be older than a result that a request on another thread has just returned.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire()?;
    /// assert_eq!((jobs.in_use(), jobs.available(), jobs.waiting()), (1, 3, 0));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.shared.permits.load().in_use()
    }

    /// Returns the number of permits that can be acquired; 0 under debt. It costs one load.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.shared.permits.load().available()
    }

    /// Returns the number of requests in the queue. It takes the lock of the gate for a moment, unless the queue is empty.
    #[must_use]
    pub fn waiting(&self) -> usize {
        if self.shared.permits.load().has(Word::WAITERS) {
            self.shared.locked(|state, _| state.waiting())
        } else {
            0
        }
    }

    /// Returns `true` if the gate has been [closed](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.permits.load().has(Word::CLOSED)
    }

    /// Returns the limit, the permits and the queue at one instant, and what the gate has counted so far.
    ///
    /// It takes the lock of the gate for a moment.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire()?;
    /// let status = jobs.status();
    /// assert_eq!((status.in_use, status.available, status.waiting), (1, 3, 0));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> GateStatus {
        self.shared.status()
    }

    #[inline]
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Has the listener notified each time the limit is set, and when the gate is closed, until it is dropped.
    pub(crate) fn listen(&self, listener: &Arc<Notify>) {
        self.shared.listen(listener);
    }

    /// Returns the maximum wait that the gate allows, in nanoseconds, or [`NEVER`].
    pub(crate) fn max_wait_nanos(&self) -> i64 {
        self.shared.max_wait
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Gate")
            .field("name", &status.name)
            .field("limit", &status.limit)
            .field("in_use", &status.in_use)
            .field("waiting", &status.waiting)
            .field("closed", &status.closed)
            .finish_non_exhaustive()
    }
}

/// Creates a [`Gate`]; from [`Gate::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder creates no gate before `build`"]
pub struct GateBuilder {
    name: GateName,
    limit: Limit,
    queue: usize,
    max_wait: Option<Duration>,
    measures_waits: bool,
}

impl GateBuilder {
    /// Bounds the queue: at most this many requests wait, whatever their weight. With 0 no request waits. Default: unbounded.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = bound;
        self
    }

    /// Bounds the wait of every request, whatever it asks for itself. Default: unbounded.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets whether the gate measures how long requests wait, for [`GateStatus::waits`]. Without it, only requests with a
    /// deadline and blocked threads read the clock, and the gate is about 1 KB smaller. Default: `true`.
    pub const fn measure_waits(mut self, measures: bool) -> Self {
        self.measures_waits = measures;
        self
    }

    /// Creates the gate.
    #[must_use]
    pub fn build(self) -> Gate {
        let max_wait = self.max_wait.map_or(NEVER, clock::from_duration);
        let shared = Shared::new(self.name, self.limit, self.queue, max_wait, self.measures_waits);
        Gate { shared: Arc::new(shared) }
    }
}
