//! A checkout: a permit, then an item.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::effects::Delivery;
use super::shared::{Place, Shared};
use super::sync::until;
use super::{CheckoutError, DiscardReason, Manager, PooledItem, TryCheckoutError, Verdict};
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
    #[inline]
    pub async fn checkout(self) -> Result<PooledItem<M>, CheckoutError<M::Error>> {
        let mut arrived = None;
        let mut leased = self.at_once();
        loop {
            let mut lease = match leased {
                Ok(lease) => lease,
                Err(permit) => match self.wait(permit, &mut arrived).await? {
                    Found::Used(lease) => lease,
                    Found::New(lease) => return Ok(lease),
                },
            };
            match self.health(lease.checking(), &mut arrived).await {
                Health::Good => {
                    lease.checked();
                    return Ok(lease);
                }
                Health::Bad => leased = Err(Some(lease.replace(DiscardReason::Health))),
                Health::Late => return Err(CheckoutError::Rejected(self.late(arrived))),
            }
        }
    }

    /// Takes an item if one is idle and the gate has room now, whatever its deadline; see [`Pool::try_checkout`](super::Pool::try_checkout).
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError`] if it is not to be had at once.
    pub fn try_checkout(self) -> Result<PooledItem<M>, TryCheckoutError> {
        let shared = self.shared;
        let permit = shared.gate.try_acquire_owned().map_err(TryCheckoutError::Rejected)?;
        match shared.take(None) {
            Some(entry) => Ok(PooledItem::new(shared, entry, permit)),
            None => Err(TryCheckoutError::NoneIdle { gate: shared.gate.name() }),
        }
    }

    /// What most checkouts come to: a permit, and an item that is idle. Else the permit, if there was one.
    #[inline]
    fn at_once(&self) -> Result<PooledItem<M>, Option<OwnedPermit>> {
        let Some(permit) = self.shared.gate.try_acquire_uncounted() else { return Err(None) };
        match self.shared.take(None) {
            Some(entry) => Ok(PooledItem::new(self.shared, entry, permit)),
            None => Err(Some(permit)),
        }
    }

    /// Waits for what was not to be had at once: a permit, then an item.
    async fn wait(
        &self,
        permit: Option<OwnedPermit>,
        arrived: &mut Option<i64>,
    ) -> Result<Found<M>, CheckoutError<M::Error>> {
        let shared = self.shared;
        let permit = match permit {
            Some(permit) => permit,
            None => self.admitted(arrived).await.map_err(CheckoutError::Rejected)?,
        };
        let waited = arrived.map(|arrived| clock::now().saturating_sub(arrived));
        if let Some(entry) = shared.take(waited) {
            return Ok(Found::Used(PooledItem::new(shared, entry, permit)));
        }
        let since = *arrived.get_or_insert_with(clock::now);
        let place = match shared.take_or_want(Some(since)) {
            Ok(entry) => return Ok(Found::Used(PooledItem::new(shared, entry, permit))),
            Err(place) => place,
        };
        let mut want = Want::new(shared, place);
        match until(self.deadline_from(since), want.delivery()).await {
            Some(Delivery::Used(entry)) => Ok(Found::Used(PooledItem::new(shared, entry, permit))),
            Some(Delivery::New(entry)) => Ok(Found::New(PooledItem::new(shared, entry, permit))),
            Some(Delivery::Failed(error)) => Err(CheckoutError::Create(error)),
            Some(Delivery::Closed) => {
                Err(CheckoutError::Rejected(AcquireError::Closed { gate: shared.gate.name() }))
            }
            None => Err(CheckoutError::Rejected(self.late(Some(since)))),
        }
    }

    /// Waits for a permit, and notes since when.
    async fn admitted(&self, arrived: &mut Option<i64>) -> Result<OwnedPermit, AcquireError> {
        let mut request = self.shared.gate.request();
        if let Some(deadline) = self.deadline {
            request = request.deadline(deadline);
        }
        if let Some(wait) = self.max_wait {
            request = request.max_wait(wait);
        }
        arrived.get_or_insert_with(clock::now);
        request.acquire_owned().await
    }

    /// Asks after the health of an item that was used before.
    #[inline]
    async fn health(&self, item: &mut M::Item, arrived: &mut Option<i64>) -> Health {
        let mut asking = pin!(self.shared.manager.health(item));
        // Most are over at once, and need no timer.
        match poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await {
            Poll::Ready(Verdict::Keep) => Health::Good,
            Poll::Ready(Verdict::Discard) => Health::Bad,
            Poll::Pending => self.health_in_time(asking, arrived).await,
        }
    }

    async fn health_in_time(
        &self,
        asking: impl Future<Output = Verdict>,
        arrived: &mut Option<i64>,
    ) -> Health {
        let now = clock::now();
        let deadline = self.deadline_from(*arrived.get_or_insert(now));
        let latest = clock::after(now, self.shared.create_timeout);
        match until(latest.min(deadline), asking).await {
            Some(Verdict::Keep) => Health::Good,
            None if deadline < latest => Health::Late,
            Some(Verdict::Discard) | None => Health::Bad,
        }
    }

    /// The earliest of its deadlines, [`NEVER`] if it has none.
    fn deadline_from(&self, arrived: i64) -> i64 {
        let longest = self.max_wait.map_or(NEVER, clock::length).min(self.shared.gate.max_wait_nanos());
        clock::nanos_after(arrived, longest).min(self.deadline.map_or(NEVER, clock::nanos))
    }

    fn late(&self, arrived: Option<i64>) -> AcquireError {
        let waited = arrived.map_or(0, |arrived| clock::now().saturating_sub(arrived));
        let waited = Duration::from_nanos(u64::try_from(waited).unwrap_or(0));
        AcquireError::DeadlineExceeded { gate: self.shared.gate.name(), waited }
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

/// An item after a wait.
enum Found<M: Manager> {
    /// One that was used before.
    Used(PooledItem<M>),
    /// One that was just made.
    New(PooledItem<M>),
}

/// What came of asking after the health of an item.
enum Health {
    Good,
    /// It is not fit, or that was not known in time.
    Bad,
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
