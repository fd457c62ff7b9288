//! A checkout: a permit, then an item.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::caught::caught_async;
use super::effects::Delivery;
use super::shared::{Place, Shared};
use super::sync::until;
use super::{CheckoutError, DiscardReason, Lease, Manager, TryCheckoutError, Verdict};
use crate::gate::clock::{self, NEVER};
use crate::gate::{AcquireError, OwnedPermit};

/// A checkout that is more than "however long it takes"; made by [`Pool::request`](super::Pool::request).
///
/// ```
/// # use std::convert::Infallible;
/// # use concurrency_governor::pool::{Manager, Pool};
/// # struct Buffers;
/// # impl Manager for Buffers {
/// #     type Item = Vec<u8>;
/// #     type Error = Infallible;
/// #     async fn create(&self) -> Result<Vec<u8>, Infallible> { Ok(Vec::new()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let buffers = Pool::builder(Buffers).max(8).build().await?;
/// let buffer = buffers.request().max_wait(Duration::from_millis(250)).checkout().await?;
/// # drop(buffer);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it checks out"]
pub struct CheckoutRequest<'p, M: Manager> {
    shared: &'p Arc<Shared<M>>,
    deadline: Option<Instant>,
    max_wait: Option<Duration>,
}

impl<'p, M: Manager> CheckoutRequest<'p, M> {
    pub(super) const fn new(shared: &'p Arc<Shared<M>>) -> Self {
        Self { shared, deadline: None, max_wait: None }
    }

    /// Gives up at `deadline` if it still waits then, be it in line at the gate, for an item to be made or to come back,
    /// or for its health to be checked. With several limits to its wait, the earliest counts.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Gives up after waiting this long for all of that together, counted from its first poll. With several limits to its
    /// wait (its own, or its gate's [longest](crate::gate::GateBuilder::max_wait)), the earliest counts.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Waits for an item; see [`Pool::checkout`](super::Pool::checkout).
    ///
    /// # Errors
    ///
    /// [`CheckoutError`] if the gate refuses it, its deadline passes, the pool is closed, or the item cannot be made.
    ///
    /// # Panics
    ///
    /// When it has to wait and has a deadline (its own or the gate's), outside a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// As [`Pool::checkout`](super::Pool::checkout).
    pub async fn checkout(self) -> Result<Lease<M>, CheckoutError<M::Error>> {
        let mut arrived = None;
        let mut permit = self.admitted(&mut arrived).await.map_err(CheckoutError::Refused)?;
        let shared = self.shared;
        loop {
            let waited = arrived.map(|arrived: i64| clock::now().saturating_sub(arrived));
            let entry = match shared.take(waited) {
                Some(entry) => entry,
                None => match self.item(&mut arrived).await? {
                    Delivery::Used(entry) => entry,
                    Delivery::New(entry) => return Ok(Lease::new(shared, entry, permit)),
                    Delivery::Failed(error) => return Err(CheckoutError::Create(error)),
                    Delivery::Closed => return Err(CheckoutError::Refused(self.closed())),
                },
            };
            let mut lease = Lease::new(shared, entry, permit);
            match self.health(&mut lease, &mut arrived).await {
                Health::Good => return Ok(lease),
                Health::Bad(reason) => permit = lease.replace(reason),
                Health::Late => {
                    drop(lease);
                    return Err(CheckoutError::Refused(self.late(arrived)));
                }
            }
        }
    }

    /// Takes an item if one is idle and the gate has room now, whatever its deadline; see [`Pool::try_checkout`](super::Pool::try_checkout).
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError`] if it is not to be had at once.
    pub fn try_checkout(self) -> Result<Lease<M>, TryCheckoutError> {
        let shared = self.shared;
        let permit = shared.gate.try_acquire_owned().map_err(TryCheckoutError::Refused)?;
        match shared.take(None) {
            Some(entry) => Ok(Lease::new(shared, entry, permit)),
            None => Err(TryCheckoutError::NoneIdle { gate: shared.gate.name() }),
        }
    }

    /// Waits for a permit. Notes when it came if it has to wait; no other costs a look at the clock.
    #[inline]
    async fn admitted(&self, arrived: &mut Option<i64>) -> Result<OwnedPermit, AcquireError> {
        let mut request = self.shared.gate.request();
        if let Some(deadline) = self.deadline {
            request = request.deadline(deadline);
        }
        if let Some(wait) = self.max_wait {
            request = request.max_wait(wait);
        }
        let mut acquire = pin!(request.acquire_owned());
        poll_fn(|cx| {
            let polled = acquire.as_mut().poll(cx);
            if polled.is_pending() && arrived.is_none() {
                *arrived = Some(clock::now());
            }
            polled
        })
        .await
    }

    /// With a permit, waits for an item that comes back or is made.
    #[inline(never)]
    async fn item(
        &self,
        arrived: &mut Option<i64>,
    ) -> Result<Delivery<M::Item, M::Error>, CheckoutError<M::Error>> {
        let since = *arrived.get_or_insert_with(clock::now);
        let place = match self.shared.take_or_want(Some(since)) {
            Ok(entry) => return Ok(Delivery::Used(entry)),
            Err(place) => place,
        };
        let mut want = Want::new(self.shared, place);
        match until(self.deadline_from(since), want.delivery()).await {
            Some(delivery) => Ok(delivery),
            None => Err(CheckoutError::Refused(self.late(*arrived))),
        }
    }

    /// Asks after the health of an item that was used before. One whose check is not over is not used again.
    #[inline]
    async fn health(&self, lease: &mut Lease<M>, arrived: &mut Option<i64>) -> Health {
        let health = self.ask(lease.checking(), arrived).await;
        if matches!(health, Health::Good) {
            lease.checked();
        }
        health
    }

    #[inline]
    async fn ask(&self, item: &mut M::Item, arrived: &mut Option<i64>) -> Health {
        let shared = self.shared;
        // In a block of its own, since a manager may panic before there is a future.
        let mut asking = pin!(caught_async(async { shared.manager.health(item).await }));
        // Most are over at once, and need no timer.
        let verdict = match poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => {
                let now = clock::now();
                let deadline = self.deadline_from(*arrived.get_or_insert(now));
                let length = i64::try_from(clock::length(shared.create_timeout)).unwrap_or(NEVER);
                let latest = now.saturating_add(length);
                match until(latest.min(deadline), asking).await {
                    Some(verdict) => verdict,
                    None if deadline < latest => return Health::Late,
                    None => return Health::Bad(DiscardReason::Health),
                }
            }
        };
        match verdict {
            Ok(Verdict::Keep) => Health::Good,
            Ok(Verdict::Discard) => Health::Bad(DiscardReason::Health),
            Err(_) => Health::Bad(DiscardReason::Panicked),
        }
    }

    /// The earliest of its deadlines, [`NEVER`] if it has none.
    fn deadline_from(&self, arrived: i64) -> i64 {
        let waits = [self.max_wait, self.shared.gate.longest_wait()];
        let ends = waits.into_iter().flatten().map(|wait| {
            i64::try_from(clock::length(wait)).map_or(NEVER, |length| arrived.saturating_add(length))
        });
        ends.chain(self.deadline.map(clock::nanos)).min().unwrap_or(NEVER)
    }

    fn late(&self, arrived: Option<i64>) -> AcquireError {
        let waited = arrived.map_or(0, |arrived| clock::now().saturating_sub(arrived));
        let waited = Duration::from_nanos(u64::try_from(waited).unwrap_or(0));
        AcquireError::DeadlineExceeded { gate: self.shared.gate.name(), waited }
    }

    fn closed(&self) -> AcquireError {
        AcquireError::Closed { gate: self.shared.gate.name() }
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

/// What came of asking after the health of an item.
enum Health {
    Good,
    Bad(DiscardReason),
    /// The checkout's own deadline passed.
    Late,
}

/// A wait for an item. Dropped before it is over, it leaves the line, and what was on its way goes to whoever is next.
pub(super) struct Want<'s, M: Manager> {
    shared: &'s Arc<Shared<M>>,
    /// `None` once it is over.
    place: Option<Place<M>>,
}

impl<'s, M: Manager> Want<'s, M> {
    pub(super) const fn new(shared: &'s Arc<Shared<M>>, place: Place<M>) -> Self {
        Self { shared, place: Some(place) }
    }

    pub(super) async fn delivery(&mut self) -> Delivery<M::Item, M::Error> {
        let Some(place) = &mut self.place else { return Delivery::Closed };
        let delivery = (&mut place.receiver).await;
        self.place = None;
        delivery.unwrap_or(Delivery::Closed) // nobody drops a sender that has sent nothing
    }
}

impl<M: Manager> Drop for Want<'_, M> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.give_up(place);
        }
    }
}
