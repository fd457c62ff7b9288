//! Pools: reusable items that are expensive to create, at most as many as a gate's limit.
//!
//! A [`Manager`] creates items and checks them. A [`Pool`] lends them: [`checkout`](Pool::checkout) returns a
//! [`PooledItem`], whose drop returns the item. The limit on the number of items is the limit of a
//! [gate](crate::gate): a fixed number, or one that a [governor](crate::Governor) derives from the host.
//!
//! - **Live items never exceed the limit.** Items that are idle, in use, being created and being dropped all count. An item
//!   counts until its drop has returned. A lowered limit takes no item away from its user: idle items above the limit are
//!   dropped at once, and items in use are dropped when they come back.
//! - **First come, first served**, at the gate and in the pool. The item that came back last, the *warmest*, is handed out
//!   first, so items that are not needed grow *cold* (idle for long) and can be evicted.
//! - **Creating an item and waiting for one are a single wait** with a single deadline. An item that comes back serves the
//!   first waiter, even if an item is being created for this waiter. The created item then serves the next waiter.
//! - **A failure ends a checkout, never the pool.** After a failure, the pool tries to create one item at a time, with an
//!   exponential backoff. A waiter learns of the failure after at most one delay and one attempt, in the gate's queue if no
//!   item exists that could be returned.
//! - **Nothing is lost.** A checkout may be dropped at any time: its item goes to the next waiter or becomes idle. A panic
//!   of a manager, an item, an observer or a waker loses neither an item's slot below the limit nor a permit.
//!
//! `docs/POOL.md` explains the life of an item, sizing, failures and shutdown, and says which test holds which promise.

mod build;
mod build_error;
mod builder;
mod checkout;
mod checkout_timeout;
mod close;
mod create_error;
mod error;
mod event;
mod gate;
mod group;
mod manager;
mod pooled_item;
mod status;
mod weak;

mod creation;
mod group_member;
mod item_wait;
mod maintenance;
mod perform;
mod retain;
mod shared;
mod unused_item;

mod backoff;
mod delivery;
mod effects;
mod group_share;
mod item_record;
mod state;

mod close_turn;
mod sync;
mod until;

pub use backoff::DuringBackoff;
pub use build_error::{PoolBuildError, PoolProblem};
pub use builder::PoolBuilder;
pub use checkout::CheckoutRequest;
pub use checkout_timeout::{CheckoutStage, CheckoutTimeout};
pub use create_error::CreateError;
pub use error::{AddError, CheckoutError, TryCheckoutError};
pub use event::{PoolEvent, PoolObserver};
pub use gate::PoolGate;
pub use group::PoolGroup;
pub use manager::{FailureVerdict, Manager, Verdict};
pub use pooled_item::PooledItem;
pub use status::{CreateErrors, DiscardReason, Discarded, ExpiredCheckouts, PoolStatus, PoolTotals};
pub use weak::WeakPool;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use retain::retain_idle;
use shared::PoolShared;
use sync::PoolTask;

use crate::gate::{Resize, clock};
use crate::plan::Limit;

/// A pool of items that are expensive to create, with at most as many items as a gate's limit.
///
/// Clones are cheap and are handles of the same pool. When the last handle is dropped, idle items are dropped. Items in use are
/// dropped when they come back. The gate is left open.
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
///     .max(16) // or `.gate(..)`, whose limit can follow the host
///     .min_idle(2)
///     .idle_timeout(Duration::from_secs(60))
///     .build()
///     .await?;
///
/// let session = sessions.checkout().await?; // one of the idle items
/// assert!(session.healthy);
/// drop(session); // idle again, and the next to be handed out
/// assert_eq!(sessions.status().totals.reused, 1);
/// # Ok(())
/// # }
/// ```
pub struct Pool<M: Manager> {
    core: Arc<PoolCore<M>>,
}

// The examples share their hidden lines, which are in example_setup.txt.
impl<M: Manager> Pool<M> {
    /// Waits for an item.
    ///
    /// Returns the item that came back last. If no item is idle, it returns the first that becomes available: one that comes
    /// back, or one that the pool creates for this checkout.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// let mut buffer = pool.checkout().await?; // created, because none is idle
    /// buffer.extend_from_slice(b"hello");
    /// drop(buffer); // back in the pool
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CheckoutError::Rejected`] if the gate rejects the checkout on arrival, or if the pool or the gate is closed.
    /// - [`CheckoutError::DeadlineExceeded`] if the longest wait of the pool or the gate is over.
    /// - `CheckoutError::Unleased`, with the feature `fleet`, if that wait is over and the gate has no permits from its ledger.
    /// - [`CheckoutError::Create`] if the item could not be created.
    /// - [`CheckoutError::BackingOff`] if the item would have to be created, and no attempt is made at present.
    ///
    /// # Panics
    ///
    /// If the pool or the gate has a longest wait, and the checkout has to wait outside a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the checkout from the queue and releases the permit. An item that was being delivered goes to
    /// the next waiter or becomes idle. A creation that was started for the checkout continues, and its item also goes to the
    /// next waiter or becomes idle. Only an item whose [health](Manager::health) is being checked at that moment is dropped.
    #[track_caller]
    pub fn checkout(&self) -> impl Future<Output = Result<PooledItem<M>, CheckoutError>> {
        self.request().checkout()
    }

    /// Checks out an idle item without waiting. It does not create an item and does not check an item's
    /// [health](Manager::health), because both may take time.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).min_idle(1).build().await?;
    /// let first = pool.try_checkout()?;
    /// assert!(pool.try_checkout().is_err()); // no other item is idle
    /// # drop(first);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`TryCheckoutError::Rejected`] if the gate has no permit, waiting requests come first, or it is closed.
    /// - `TryCheckoutError::Unleased`, with the feature `fleet`, if the gate has no permits from its ledger.
    /// - [`TryCheckoutError::NoneIdle`] if no item is idle.
    #[track_caller]
    pub fn try_checkout(&self) -> Result<PooledItem<M>, TryCheckoutError> {
        self.request().try_checkout()
    }

    /// Returns a checkout request, to which a deadline can be added.
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
    #[inline]
    pub fn request(&self) -> CheckoutRequest<'_, M> {
        CheckoutRequest::new(self.shared())
    }

    /// Adds an item that exists already. It is handed to the first waiter, or is idle. Its lifetime begins now.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// pool.add(Vec::with_capacity(1 << 16))?;
    /// assert_eq!(pool.status().idle, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AddError`] with the item, if the pool is closed, or if it or its group has as many live items as the limit allows.
    pub fn add(&self, item: M::Item) -> Result<(), AddError<M::Item>> {
        self.shared().add(item)
    }

    /// Ends the backoff after failed creations: the items that are needed are created at once.
    ///
    /// Call it when you know that the cause of the failures is gone. It has no effect while creation works.
    pub fn retry_now(&self) {
        let shared = self.shared();
        let now = clock::now();
        shared.apply(|state, effects| state.retry_now(now, shared.gate.item_limit(), effects));
    }

    /// Returns the gate whose limit bounds the pool.
    #[must_use]
    pub fn gate(&self) -> &PoolGate {
        &self.shared().gate
    }

    /// Sets the limit of the gate, for the pool and all other users of the gate.
    ///
    /// Items in use are not affected. If the limit falls, idle items of this pool above it are dropped before this returns, the coldest
    /// first, and items in use are dropped as they come back. If the limit rises, waiters that now fit are woken, and items are created for
    /// them.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// use concurrency_governor::Limit;
    ///
    /// let pool = Pool::builder(Buffers).max(8).min_idle(8).build().await?;
    /// pool.resize(Limit::new(2));
    /// assert_eq!(pool.status().idle, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::must_use_candidate, reason = "callers may ignore the description of the change")]
    pub fn resize(&self, limit: Limit) -> Resize {
        self.shared().resize(limit)
    }

    /// Discards the idle items for which `keep` returns `false`. Returns their number.
    ///
    /// `keep` gets each item that is idle at the start and the time since it was created, from the coldest item to the
    /// warmest. While one item is judged, the others can be checked out.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder(Buffers).max(8).min_idle(2).build().await?;
    /// let discarded = pool.retain(|buffer, age| buffer.capacity() < 1 << 20 && age < Duration::from_secs(3600));
    /// assert_eq!(discarded, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If `keep` panics. The item that it was judging stays in the pool.
    pub fn retain(&self, keep: impl FnMut(&M::Item, Duration) -> bool) -> usize {
        retain_idle(self.shared(), keep)
    }

    /// Returns a snapshot of the pool: sizes, totals and histograms.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// # let pool = Pool::builder(Buffers).max(8).build().await?;
    /// let buffer = pool.checkout().await?;
    /// let status = pool.status();
    /// assert_eq!((status.size, status.in_use, status.totals.created), (1, 1, 1));
    /// # drop(buffer);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.shared().status()
    }

    /// Returns a closure that reads the status without keeping the pool open. It returns `None` once the pool and all its
    /// items are gone.
    #[cfg(feature = "metrics")]
    pub(crate) fn status_reader(&self) -> impl Fn() -> Option<PoolStatus> + Send + Sync + use<M> {
        let shared = Arc::downgrade(self.shared());
        move || shared.upgrade().map(|shared| shared.status())
    }

    #[inline]
    fn shared(&self) -> &Arc<PoolShared<M>> {
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

/// What the handles of a pool own together. It is dropped with the last handle, which closes the pool. Pooled items and tasks
/// keep only [`PoolShared`] alive.
struct PoolCore<M: Manager> {
    shared: Arc<PoolShared<M>>,
    maintenance: PoolTask,
}

impl<M: Manager> Drop for PoolCore<M> {
    /// Closes the pool. The gate stays open, because it may have other users.
    fn drop(&mut self) {
        self.shared.close(|| {});
        self.maintenance.abort();
    }
}
