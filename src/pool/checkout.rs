//! Checkouts: a permit of the gate, then an item of the pool.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Instant;

use super::checkout_timeout::CheckoutStage;
use super::delivery::ItemDelivery;
use super::error::{CheckoutError, TryCheckoutError};
use super::gate::PoolPermit;
use super::item_record::{CheckoutPlace, CheckoutWait, ItemRecord};
use super::item_wait::ItemWait;
use super::manager::{Manager, Verdict};
use super::pooled_item::PooledItem;
use super::shared::PoolShared;
use super::state::{CheckoutArrival, elapsed};
use super::sync::with_deadline;
#[cfg(feature = "fleet")]
use super::until::until;
use super::unused_item::UnusedItem;
use crate::gate::clock::{self, NEVER};
use crate::gate::{AcquireError, TryAcquireError, reject};

/// A checkout with a deadline, from [`Pool::request`](super::Pool::request).
///
/// ```
#[doc = include_str!("example_setup.txt")]
/// # let pool = Pool::builder(Buffers).max(8).build().await?;
/// use std::time::Duration;
///
/// let buffer = pool.request().max_wait(Duration::from_millis(250)).checkout().await?;
/// # drop(buffer);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it checks out"]
pub struct CheckoutRequest<'p, M: Manager> {
    shared: &'p Arc<PoolShared<M>>,
    deadline: Option<Instant>,
    max_wait: Option<Duration>,
    /// Where the checkout is made, once that is known.
    location: Option<&'static Location<'static>>,
}

impl<'p, M: Manager> CheckoutRequest<'p, M> {
    pub(super) const fn new(shared: &'p Arc<PoolShared<M>>) -> Self {
        Self { shared, deadline: None, max_wait: None, location: None }
    }

    /// Sets an instant at which the checkout stops waiting.
    ///
    /// The deadline covers the wait in the gate's queue, the wait for an item, and the check of its health. With several
    /// bounds on the wait, the earliest counts.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the longest wait, counted from the first poll.
    ///
    /// It covers the wait in the gate's queue, the wait for an item, and the check of its health. With several bounds on the
    /// wait, those of the [pool](super::PoolBuilder::max_wait) and of the
    /// [gate](crate::gate::GateBuilder::max_wait) included, the earliest counts.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Waits for an item, as [`Pool::checkout`](super::Pool::checkout) does.
    ///
    /// # Errors
    ///
    /// [`CheckoutError`] if the gate rejects the checkout, the deadline passes, the pool is closed, or the item cannot be
    /// created.
    ///
    /// # Panics
    ///
    /// If the wait is bounded, by the request, the pool or the gate, and the checkout has to wait outside a tokio runtime with
    /// its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// As [`Pool::checkout`](super::Pool::checkout).
    #[inline]
    #[track_caller]
    pub fn checkout(self) -> impl Future<Output = Result<PooledItem<M>, CheckoutError>> + use<'p, M> {
        Self { location: Some(Location::caller()), ..self }.obtain()
    }

    /// Waits for an item.
    #[inline]
    async fn obtain(self) -> Result<PooledItem<M>, CheckoutError> {
        let mut wait = None; // begun when the checkout must wait: the fast path does not read the clock
        let mut place = None; // set when the first item was rejected
        let mut outcome = match self.checkout_fast() {
            Ok((record, permit)) => {
                // A task that checks out in a loop must yield from time to time. Meanwhile the checkout has its item. On the slow path,
                // the waits for a permit and for an item do the same.
                let unused = UnusedItem::new(self.shared, record);
                coop::consume_budget().await;
                Ok(PooledItem::new(self.shared, unused.into_record(), permit))
            }
            Err(admission) => Err(admission),
        };
        loop {
            let mut item = match outcome {
                Ok(item) => item,
                Err(admission) => match self.checkout_slow(admission, place, &mut wait).await? {
                    ObtainedItem::Reused(item) => item,
                    ObtainedItem::Created(item) => return Ok(item), // a new item needs no check
                    ObtainedItem::LeaseLost => {
                        outcome = Err(None);
                        continue;
                    }
                },
            };
            let sequence = item.sequence();
            match self.check_health(item.begin_health_check(), sequence, &mut wait).await {
                HealthOutcome::Healthy => {
                    item.finish_health_check();
                    return Ok(item);
                }
                // The permit and the place are kept for the next item, so that no later checkout overtakes this one.
                HealthOutcome::Unfit => {
                    let (permit, of_this_item) = item.discard_unhealthy();
                    let CheckoutPlace { round, .. } = place.get_or_insert(of_this_item);
                    outcome = Err(Some(Admission { permit, round: *round }));
                }
                HealthOutcome::DeadlineExceeded => return Err(self.expire(CheckoutStage::Check, wait)),
            }
        }
    }

    /// Checks out an idle item without waiting, whatever the deadline; see
    /// [`Pool::try_checkout`](super::Pool::try_checkout).
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError`] if the gate has no permit, no item is idle, or the pool is closed.
    #[track_caller]
    pub fn try_checkout(self) -> Result<PooledItem<M>, TryCheckoutError> {
        let shared = self.shared;
        let gate = shared.gate.name();
        let permit = shared.gate.try_acquire()?;
        match shared.take_idle(CheckoutWait::default()) {
            Ok(record) => Ok(PooledItem::new(shared, record, permit)),
            // The pool is closed before its gate, so the gate may still have admitted the checkout.
            Err(_) if shared.lock().is_closed() => {
                Err(TryCheckoutError::Rejected(TryAcquireError::Closed { gate }))
            }
            Err(_) => Err(TryCheckoutError::NoneIdle { gate }),
        }
    }

    /// Fast path: takes a permit and an idle item.
    ///
    /// # Errors
    ///
    /// The permit, if no item is idle; `None`, if the fast path of the gate gives no permit.
    #[inline]
    fn checkout_fast(&self) -> Result<(ItemRecord<M::Item>, PoolPermit), Option<Admission>> {
        let Some(permit) = self.shared.gate.try_acquire_fast() else { return Err(None) };
        match self.shared.take_idle(CheckoutWait::default()) {
            Ok(record) => Ok((record, permit)),
            Err(round) => Err(Some(Admission { permit, round })),
        }
    }

    /// Slow path: waits for a permit, unless it is given, and then for an item.
    async fn checkout_slow(
        &self,
        admission: Option<Admission>,
        place: Option<CheckoutPlace>,
        wait: &mut Option<BegunWait>,
    ) -> Result<ObtainedItem<M>, CheckoutError> {
        let shared = self.shared;
        let Admission { permit, round } = match admission {
            Some(admission) => admission,
            None => self.wait_for_permit(wait).await?,
        };

        // The round is that in which the checkout arrived, which may be earlier than the one in which it gets the item.
        let obtain = |mut record: ItemRecord<M::Item>, permit| {
            record.place.round = round;
            PooledItem::new(shared, record, permit)
        };

        // The previous holder of the permit has usually left its item idle.
        let waited = wait.map_or_else(CheckoutWait::default, |begun| begun.wait);
        if let Ok(record) = shared.take_idle(waited) {
            return Ok(ObtainedItem::Reused(obtain(record, permit)));
        }

        // Join the pool's own queue. This starts the creation of an item if there is room for one.
        let begun = *wait.get_or_insert_with(|| self.begin_recorded(clock::now()));
        let arrival = CheckoutArrival { wait: begun.wait, round, place, is_first: false };
        let item_wait = match ItemWait::take_or_enqueue(shared, arrival) {
            Ok(record) => return Ok(ObtainedItem::Reused(obtain(record, permit))),
            Err(item_wait) => item_wait,
        };
        let delivery = item_wait.delivery(begun.deadline);
        // Once the lease of the permit has ended, other processes may get the permit, so this checkout must wait for another permit.
        #[cfg(feature = "fleet")]
        let delivery = {
            let delivered = until(pin!(delivery), pin!(permit.lost())).await;
            let Some(delivery) = delivered else { return Ok(ObtainedItem::LeaseLost) };
            delivery
        };
        #[cfg(not(feature = "fleet"))]
        let delivery = delivery.await;
        match delivery {
            Some(ItemDelivery::Reused(record)) => Ok(ObtainedItem::Reused(obtain(record, permit))),
            Some(ItemDelivery::Created(record)) => Ok(ObtainedItem::Created(obtain(record, permit))),
            Some(ItemDelivery::Ended(error)) => Err(error),
            Some(ItemDelivery::NoRoom) | None => Err(self.expire(CheckoutStage::Item, Some(begun))),
        }
    }

    /// Waits in the gate's queue.
    ///
    /// While creating items fails, the permits may be held by checkouts that wait for an item in vain. So the wait also ends when a
    /// creation has failed and nothing else will serve the checkout.
    async fn wait_for_permit(&self, wait: &mut Option<BegunWait>) -> Result<Admission, CheckoutError> {
        let shared = self.shared;
        // A checkout that has lost the lease of its permit waits anew, and keeps its deadline.
        let longest = self.longest_wait();
        let (deadline, max_wait) = match wait {
            Some(begun) => (clock::to_deadline(begun.deadline), None),
            None => (self.deadline, (longest != NEVER).then(|| Duration::from_nanos(longest.unsigned_abs()))),
        };
        let is_bounded = deadline.is_some() || max_wait.is_some();
        let since = wait.map_or_else(|| is_bounded.then(clock::now), |begun| begun.wait.since);
        let mut acquiring = pin!(shared.gate.acquire(self.location, deadline, max_wait));
        let round = {
            let mut state = shared.lock();
            wait.get_or_insert_with(|| self.begin(state.begin_wait(since, clock::now), longest));
            state.arrive(|| since.unwrap_or_else(clock::now))
        };
        let round = match round {
            Ok(round) => round,
            Err(error) => return reject(error).await,
        };
        let acquired = poll_fn(|cx| match acquiring.as_mut().poll(cx) {
            Poll::Ready(acquired) => Poll::Ready(Ok(acquired)),
            // A failure stores its round, and then wakes the checkouts in the gate's queue.
            Poll::Pending => shared.failure(round).map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        });
        match acquired.await? {
            Ok(permit) => Ok(Admission { permit, round }),
            Err(AcquireError::DeadlineExceeded { .. }) => Err(self.expire(CheckoutStage::Admission, *wait)),
            Err(error) => Err(CheckoutError::Rejected(error)),
        }
    }

    /// Checks the health of an item that was used before. The items that have been idle for longer have a lower sequence.
    #[inline]
    async fn check_health(
        &self,
        item: &mut M::Item,
        sequence: u64,
        wait: &mut Option<BegunWait>,
    ) -> HealthOutcome {
        let mut check = pin!(self.shared.manager.health(item));
        // Most checks end at their first poll, which needs no timer.
        match poll_fn(|cx| Poll::Ready(check.as_mut().poll(cx))).await {
            Poll::Ready(Verdict::Keep) => HealthOutcome::Healthy,
            Poll::Ready(Verdict::Discard) => HealthOutcome::Unfit,
            Poll::Pending => self.check_health_slow(check, sequence, wait).await,
        }
    }

    /// Awaits a health check until the checkout's deadline or the pool's check timeout.
    async fn check_health_slow(
        &self,
        check: impl Future<Output = Verdict>,
        sequence: u64,
        wait: &mut Option<BegunWait>,
    ) -> HealthOutcome {
        let now = clock::now();
        let deadline = wait.get_or_insert_with(|| self.begin_recorded(now)).deadline;
        let timeout = clock::add(now, self.shared.check_timeout);
        let slow_check = SlowCheck::begin(self.shared);
        match with_deadline(timeout.min(deadline), check).await {
            Some(Verdict::Keep) => HealthOutcome::Healthy,
            Some(Verdict::Discard) => HealthOutcome::Unfit,
            None => {
                if timeout <= deadline {
                    slow_check.discard_colder(sequence);
                }
                if deadline <= timeout { HealthOutcome::DeadlineExceeded } else { HealthOutcome::Unfit }
            }
        }
    }

    /// Begins a wait that is recorded.
    fn begin_recorded(&self, now: i64) -> BegunWait {
        self.begin(CheckoutWait::recorded(now), self.longest_wait())
    }

    /// Begins a wait of at most this many nanoseconds. Its start is unknown only if no longest wait applies.
    fn begin(&self, wait: CheckoutWait, longest: i64) -> BegunWait {
        let latest = wait.since.map_or(NEVER, |since| clock::add_nanos(since, longest));
        BegunWait { wait, deadline: latest.min(self.deadline.map_or(NEVER, clock::from_instant)) }
    }

    /// Returns the longest wait of the request, the pool or the gate in nanoseconds, or [`NEVER`].
    fn longest_wait(&self) -> i64 {
        let own = self.max_wait.map_or(NEVER, clock::from_duration);
        own.min(self.shared.max_wait).min(self.shared.gate.max_wait_nanos())
    }

    #[cold]
    fn expire(&self, stage: CheckoutStage, wait: Option<BegunWait>) -> CheckoutError {
        let shared = self.shared;
        let since = wait.and_then(|begun| begun.wait.since);
        let waited = since.map_or(Duration::ZERO, |since| elapsed(since, clock::now()));
        let timeout = shared.lock().expire(stage, waited, shared.gate.item_limit());
        #[cfg(feature = "fleet")]
        if let Some(unleased) = shared.gate.unleased() {
            return CheckoutError::Unleased { unleased: Box::new(unleased), waited };
        }
        CheckoutError::DeadlineExceeded(Box::new(timeout))
    }
}

/// A health check that did not end at its first poll. The item counts as being checked until the drop.
struct SlowCheck<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
}

impl<'s, M: Manager> SlowCheck<'s, M> {
    fn begin(shared: &'s Arc<PoolShared<M>>) -> Self {
        shared.lock().begin_check();
        Self { shared }
    }

    /// Discards the items that have been idle for longer than the item with this sequence, which was checked.
    fn discard_colder(&self, sequence: u64) {
        self.shared.apply(|state, effects| state.discard_unchecked(sequence, effects));
    }
}

impl<M: Manager> Drop for SlowCheck<'_, M> {
    fn drop(&mut self) {
        self.shared.lock().finish_check();
    }
}

impl<M: Manager> Clone for CheckoutRequest<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager> Copy for CheckoutRequest<'_, M> {}

impl<M: Manager> fmt::Debug for CheckoutRequest<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckoutRequest")
            .field("gate", &self.shared.gate.name())
            .field("deadline", &self.deadline)
            .field("max_wait", &self.max_wait)
            .finish()
    }
}

/// The wait of a checkout. Its deadline is that of the arrival, also if the gate's longest wait is changed later.
#[derive(Clone, Copy)]
struct BegunWait {
    wait: CheckoutWait,
    /// The instant at which the wait ends at the latest, or [`NEVER`].
    deadline: i64,
}

/// The permit of a checkout that still needs an item.
struct Admission {
    permit: PoolPermit,
    /// The round in which the checkout arrived: attempts that start later are made for it, too, and end its wait if they fail.
    round: u64,
}

/// The item that the slow path got.
enum ObtainedItem<M: Manager> {
    /// An item that was used before. Its health must be checked.
    Reused(PooledItem<M>),
    /// An item that was just created.
    Created(PooledItem<M>),
    /// No item: the lease of the permit ended before an item was available.
    #[cfg_attr(not(feature = "fleet"), expect(dead_code, reason = "no permit has a lease"))]
    LeaseLost,
}

/// The outcome of a health check.
enum HealthOutcome {
    Healthy,
    /// The manager rejected the item, or its check took longer than the check timeout.
    Unfit,
    /// The checkout's own deadline passed during the check.
    DeadlineExceeded,
}
