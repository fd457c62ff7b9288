//! Pools: items that are dear to make, kept warm, and never more of them than a gate's limit.
//!
//! A [`Manager`] makes items and judges them; a [`Pool`] hands them out, one to a [`PooledItem`]; dropping the lease gives the
//! item back. How many there may be is the limit of a [gate](crate::gate), be it a number or what a
//! [governor](crate::Governor) derives from the host.
//!
//! - **Live items never exceed the limit.** Items idle, leased, being made and being dropped all count, the last ones until
//!   their drop is over. A limit that is lowered takes no item from anybody: what is idle goes at once, the rest as it comes
//!   back.
//! - **First come, first served**, at the gate and after it. The item that came back last is handed out first, so the rest
//!   grows cold and can go.
//! - **Growing and waiting are one wait** with one deadline: an item that comes back serves whoever waits for one to be made,
//!   and the item made then serves the next.
//! - **A failure ends a checkout and never the pool.** After one, items are tried one at a time after pauses that grow, and
//!   whoever waits is told after one pause and one attempt at the latest.
//! - **Nothing is lost.** A checkout may be dropped at any time: what was on its way to it goes to the next, or is idle. No
//!   panic, of a manager, an item, an observer or a waker, costs a place.

mod backoff;
mod books;
mod builder;
mod caught;
mod checkout;
mod create;
mod effects;
mod error;
mod event;
mod keeper;
mod manager;
mod pooled_item;
mod shared;
mod status;
mod sync;

pub use builder::PoolBuilder;
pub use checkout::CheckoutRequest;
pub use error::{CheckoutError, CreateError, PoolBuildError, PoolProblem, TryCheckoutError};
pub use event::{PoolEvent, PoolObserver};
pub use manager::{Manager, Verdict};
pub use pooled_item::PooledItem;
pub use status::{CreateErrors, DiscardReason, Discarded, PoolStatus, PoolTotals};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use books::Entry;
use shared::Shared;
use sync::{Task, meanwhile};

use crate::gate::{Gate, Resize, clock};
use crate::plan::Limit;

/// Items that are dear to make, kept warm, and never more of them than a gate's limit.
///
/// Cheap to clone: clones are handles of the same pool. When the last is dropped, its idle items are dropped, and those
/// still leased when they come back; the gate stays as it is.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::pool::{Manager, Pool, Verdict};
///
/// struct Sessions;
///
/// # #[derive(Debug)]
/// # struct Session { healthy: bool }
/// # impl Session { async fn open() -> Result<Self, std::io::Error> { Ok(Self { healthy: true }) } }
/// impl Manager for Sessions {
///     type Item = Session;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> Result<Session, std::io::Error> {
///         Session::open().await
///     }
///
///     fn recycle(&self, session: &mut Session) -> Verdict {
///         if session.healthy { Verdict::Keep } else { Verdict::Discard }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Pool::builder(Sessions)
///     .max(16) // or `.gate(..)`, whose limit follows the host
///     .min_idle(2)
///     .idle_timeout(Duration::from_secs(60))
///     .build()
///     .await?;
///
/// let session = sessions.checkout().await?; // warm
/// assert!(session.healthy);
/// drop(session); // warm again, and the next to be handed out
/// assert_eq!(sessions.status().totals.reused, 1);
/// # Ok(())
/// # }
/// ```
pub struct Pool<M: Manager> {
    core: Arc<Core<M>>,
}

/// What all handles share, and goes with the last of them.
struct Core<M: Manager> {
    shared: Arc<Shared<M>>,
    keeper: Task,
}

impl<M: Manager> Pool<M> {
    /// Starts a pool: [`gate`](PoolBuilder::gate) or [`max`](PoolBuilder::max), the rest as needed, then
    /// [`build`](PoolBuilder::build).
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }

    /// Waits for an item: the one that came back last; or if none is idle, whichever comes first, one that comes back or
    /// one that is made.
    ///
    /// # Errors
    ///
    /// [`CheckoutError::Rejected`] if the gate refuses it, then or while it waits, or the pool is closed;
    /// [`CheckoutError::Create`] if the item could not be made.
    ///
    /// # Panics
    ///
    /// Only where the gate has a maximum wait: when it has to wait, outside a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in line and its permit. An item that was on its way to it goes to the next
    /// who waits, or is idle; one that is being made for it is made, and then the same. Only an item whose
    /// [health](Manager::health) is being checked just then is dropped.
    pub async fn checkout(&self) -> Result<PooledItem<M>, CheckoutError<M::Error>> {
        self.request().checkout().await
    }

    /// Takes an item if one is idle and the gate has room. None is made, and its [health](Manager::health) is not asked
    /// after, since both may take time.
    ///
    /// # Errors
    ///
    /// [`TryCheckoutError`] if it is not to be had at once.
    pub fn try_checkout(&self) -> Result<PooledItem<M>, TryCheckoutError> {
        self.request().try_checkout()
    }

    /// A checkout with a deadline.
    #[inline]
    pub fn request(&self) -> CheckoutRequest<'_, M> {
        CheckoutRequest::new(self.shared())
    }

    /// The gate whose limit this pool keeps to.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared().gate
    }

    /// Puts another limit in force at once, for the gate and so for all who use it.
    ///
    /// Holders are never disturbed. Lowered, it drops idle items above the limit before it returns, the coldest first, and
    /// those in use as they come back. Raised, it wakes those who now fit, and has items made for who waits.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn resize(&self, limit: Limit) -> Resize {
        self.shared().resize(limit)
    }

    /// Drops the idle items for which `keep` says no, from the coldest to the warmest; says how many. It is told how long
    /// ago each was made.
    ///
    /// Asked about are those that are idle when this begins. One at a time is taken aside meanwhile, and the others can be
    /// checked out.
    ///
    /// # Panics
    ///
    /// As `keep` does; the item it was asked about stays.
    pub fn retain(&self, mut keep: impl FnMut(&M::Item, Duration) -> bool) -> usize {
        let shared = self.shared();
        let (mut from, below) = (0, shared.lock().rank_to_come());
        let mut dropped = 0_usize;
        loop {
            let Some(entry) = shared.lock().take_aside(from, below) else { return dropped };
            from = entry.rank().saturating_add(1);
            let mut aside = Aside { shared, entry: Some(entry) };
            let age = clock::now().saturating_sub(aside.entry().created);
            if !keep(&aside.entry().item, Duration::from_nanos(u64::try_from(age).unwrap_or(0))) {
                aside.leave();
                dropped = dropped.saturating_add(1);
            }
        }
    }

    /// Hands out nothing from now on: checkouts under way and to come are refused, idle items are dropped before this
    /// returns, those in use when they come back. Leases stay valid. There is no way back.
    ///
    /// This closes the gate, for everybody who uses it.
    pub fn close(&self) {
        self.gate().close();
        self.shared().close();
    }

    /// Whether it has been [closed](Self::close), or its gate has.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate().is_closed()
    }

    /// Waits until no item is left, be it idle, leased, being made or being dropped, and nobody waits for one: close the
    /// pool first. Of a gate of its own it also waits until no permit is out; a gate that others use has a
    /// [`drained`](Gate::drained) of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn drained(&self) {
        let shared = self.shared();
        loop {
            let rung = shared.drained.notified(); // before the look, or what comes between would be missed
            if shared.lock().is_drained() {
                break;
            }
            meanwhile();
            rung.await;
        }
        if shared.owns_gate {
            shared.gate.drained().await;
        }
    }

    /// What the pool is doing and has done.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.shared().status()
    }

    /// What tells the same to somebody who is no handle: nothing once the pool is gone with all its items.
    #[cfg(feature = "metrics")]
    pub(crate) fn onlooker(&self) -> impl Fn() -> Option<PoolStatus> + Send + Sync + use<M> {
        let shared = Arc::downgrade(self.shared());
        move || shared.upgrade().map(|shared| shared.status())
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared<M>> {
        &self.core.shared
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Pool")
            .field("gate", &status.gate)
            .field("limit", &status.limit)
            .field("idle", &status.idle)
            .field("in_use", &status.in_use)
            .field("waiting", &status.waiting)
            .field("closed", &status.closed)
            .finish_non_exhaustive()
    }
}

impl<M: Manager> Drop for Core<M> {
    /// The gate may be others', so it stays open.
    fn drop(&mut self) {
        self.shared.close();
        self.keeper.abort();
    }
}

/// An item that is being judged. It stays, unless it is told to go: also if whoever judges it panics.
struct Aside<'s, M: Manager> {
    shared: &'s Arc<Shared<M>>,
    entry: Option<Entry<M::Item>>,
}

impl<M: Manager> Aside<'_, M> {
    fn entry(&self) -> &Entry<M::Item> {
        self.entry.as_ref().expect("an item that is being judged has not gone yet")
    }

    fn leave(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let ((), effects) = self.shared.step(|books, effects| books.leave_aside(entry, effects));
        self.shared.act(effects);
    }
}

impl<M: Manager> Drop for Aside<'_, M> {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let ((), effects) =
            self.shared.step(|books, effects| books.put_aside_back(entry, clock::now, effects));
        self.shared.act(effects);
    }
}
