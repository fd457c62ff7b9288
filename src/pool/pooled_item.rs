//! The guard of an item that is checked out.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::gate::PoolPermit;
use super::item_record::{CheckoutPlace, ItemRecord};
use super::manager::{Manager, Verdict};
use super::shared::PoolShared;
use super::state::elapsed;
use super::status::DiscardReason;
use crate::catch_panic::catch_panic;
#[cfg(feature = "fleet")]
use crate::fleet::SharedPermit;
use crate::gate::clock;

/// An item checked out of a [`Pool`](super::Pool). Dropping it returns the item, which is then the next to be handed out.
///
/// The item is dropped instead of returned if
///
/// - it was [marked broken](Self::mark_broken),
/// - the guard is dropped between [`begin`](Self::begin) and [`complete`](Self::complete),
/// - the guard is dropped because a panic unwinds through it, unless [`Manager::after_panic`] keeps the item,
/// - [`Manager::recycle`] rejects the item or panics,
/// - the item is older than the pool's maximum lifetime,
/// - the limit was lowered and the item is above it, or
/// - the pool was closed.
///
/// In each case its slot below the limit becomes free after the item has been dropped. The guard may outlive every handle of the
/// pool and the runtime. A change of the limit does not affect it.
///
/// ```
/// # use std::convert::Infallible;
/// # use concurrency_governor::pool::{PooledItem, Manager, Pool};
/// # struct Connections;
/// # impl Manager for Connections {
/// #     type Item = Connection;
/// #     type Error = Infallible;
/// #     async fn create(&self) -> Result<Connection, Infallible> { Ok(Connection) }
/// # }
/// # struct Connection;
/// # impl Connection {
/// #     async fn send(&mut self, _: &str) {}
/// #     async fn receive(&mut self) -> &'static str { "PONG" }
/// # }
/// /// If this future is dropped before the answer arrives, the next request on the connection would receive that answer.
/// /// `begin` and `complete` make sure that the connection is dropped instead.
/// async fn ping(mut connection: PooledItem<Connections>) -> &'static str {
///     connection.begin();
///     connection.send("PING").await;
///     let answer = connection.receive().await;
///     connection.complete();
///     answer
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Connections).max(1).build().await?;
/// # assert_eq!(ping(pool.checkout().await?).await, "PONG");
/// # let mut cancelled = Box::pin(ping(pool.checkout().await?));
/// # drop(cancelled);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the item returns it to the pool"]
pub struct PooledItem<M: Manager> {
    /// `None` once the item was detached or discarded.
    item: Option<M::Item>,
    created: i64,
    expires: i64,
    /// Items that had been idle for longer when this one was checked out have a lower sequence.
    sequence: u64,
    /// The place of the checkout.
    place: CheckoutPlace,
    /// Why the item must be dropped together with the guard. `None` if the item may be used again.
    discard_reason: Option<DiscardReason>,
    /// Whether the thread was already unwinding at the checkout. Then unwinding says nothing about the item.
    was_unwinding: bool,
    /// Released after the item has been returned, because fields are dropped after the body of `drop`.
    permit: Option<PoolPermit>,
    shared: Arc<PoolShared<M>>,
}

impl<M: Manager> PooledItem<M> {
    /// Wraps an item that the state counts as in use.
    #[inline]
    pub(super) fn new(shared: &Arc<PoolShared<M>>, record: ItemRecord<M::Item>, permit: PoolPermit) -> Self {
        Self {
            item: Some(record.item),
            created: record.created,
            expires: record.expires,
            sequence: record.sequence,
            place: record.place,
            discard_reason: initial_reason(shared),
            was_unwinding: thread::panicking(),
            permit: Some(permit),
            shared: Arc::clone(shared),
        }
    }

    /// Marks the item as unfit until [`complete`](Self::complete): if the guard is dropped before that, the item is dropped.
    ///
    /// Use it around work that must not be interrupted, such as a request and its response on a connection. In a pool with
    /// [`incomplete_by_default`](super::PoolBuilder::incomplete_by_default), each item is marked from its checkout on.
    pub fn begin(&mut self) {
        self.discard_reason.get_or_insert(DiscardReason::Incomplete);
    }

    /// Marks the work since [`begin`](Self::begin), or since the checkout, as complete, so that the item can be used again.
    pub fn complete(&mut self) {
        if self.discard_reason == Some(DiscardReason::Incomplete) {
            self.discard_reason = None;
        }
    }

    /// Marks the item as broken: it is dropped together with the guard. The mark cannot be removed.
    pub fn mark_broken(&mut self) {
        self.discard_reason = Some(DiscardReason::Broken);
    }

    /// Drops the item now and frees its slot.
    pub fn discard(mut self) {
        self.mark_broken();
    }

    /// Takes the item out of the pool for good. The pool stops counting it, so its slot is free for another item.
    #[expect(clippy::missing_panics_doc, reason = "the guard holds its item until it is dropped")]
    pub fn detach(mut self) -> M::Item {
        let item = self.item.take().expect(HOLDS_ITEM);
        self.shared.detach();
        item
    }

    /// Returns the time since the item was created.
    #[must_use]
    pub fn age(&self) -> Duration {
        elapsed(self.created, clock::now())
    }

    /// Returns the permit of the checkout if its gate shares its limit with other processes, to check its lease.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    #[must_use]
    pub fn shared_permit(&self) -> Option<&SharedPermit> {
        self.permit.as_ref().and_then(PoolPermit::as_shared)
    }

    /// Returns the item for a health check. Until [`finish_health_check`](Self::finish_health_check) the item is unfit: a
    /// check that is dropped or panics leaves it in an unknown state.
    #[inline]
    pub(super) fn begin_health_check(&mut self) -> &mut M::Item {
        self.discard_reason = Some(DiscardReason::Health);
        self
    }

    /// Returns the sequence of the item. Items that had been idle for longer when it was checked out have a lower one.
    #[inline]
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    pub(super) fn finish_health_check(&mut self) {
        self.discard_reason = initial_reason(&self.shared);
    }

    /// Discards the item. Returns the permit and the place, so that the checkout can take another item in its turn.
    pub(super) fn discard_unhealthy(mut self) -> (PoolPermit, CheckoutPlace) {
        let item = self.item.take().expect(HOLDS_ITEM);
        self.shared.discard(ItemRecord::new(item, self.created, self.expires), DiscardReason::Health);
        let permit = self.permit.take().expect("the guard holds its permit until it is dropped");
        (permit, self.place)
    }
}

impl<M: Manager> Deref for PooledItem<M> {
    type Target = M::Item;

    #[inline]
    fn deref(&self) -> &M::Item {
        self.item.as_ref().expect(HOLDS_ITEM)
    }
}

impl<M: Manager> DerefMut for PooledItem<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Item {
        self.item.as_mut().expect(HOLDS_ITEM)
    }
}

impl<M: Manager> Drop for PooledItem<M> {
    /// Returns or discards the item. The permit is released afterwards, so the next holder of the permit finds the item, or
    /// room for a new one.
    #[inline]
    fn drop(&mut self) {
        let Some(item) = self.item.take() else { return };
        let mut record = ItemRecord::new(item, self.created, self.expires);
        // A broken item is dropped without a call of the manager. After a panic, the manager decides whether the item may be used again.
        let discard_reason = match self.discard_reason {
            Some(DiscardReason::Broken) => self.discard_reason,
            reason if thread::panicking() && !self.was_unwinding => {
                match catch_panic(|| self.shared.manager.after_panic(&mut record.item)) {
                    Ok(Verdict::Keep) => reason,
                    Ok(Verdict::Discard) | Err(_) => Some(DiscardReason::Panicked),
                }
            }
            reason => reason,
        };
        if let Some(reason) = discard_reason {
            return self.shared.discard(record, reason);
        }
        // Outside of the lock: `recycle` is user code.
        match catch_panic(|| self.shared.manager.recycle(&mut record.item)) {
            Ok(Verdict::Keep) => self.shared.put_back(record),
            Ok(Verdict::Discard) => self.shared.discard(record, DiscardReason::Recycle),
            Err(_) => self.shared.discard(record, DiscardReason::Panicked),
        }
    }
}

impl<M: Manager> fmt::Debug for PooledItem<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledItem")
            .field("gate", &self.shared.gate.name())
            .field("discard_reason", &self.discard_reason)
            .finish_non_exhaustive()
    }
}

/// Returns the reason for which an item would be discarded if it came back right after its checkout.
#[inline]
fn initial_reason<M: Manager>(shared: &PoolShared<M>) -> Option<DiscardReason> {
    shared.incomplete_by_default.then_some(DiscardReason::Incomplete)
}

const HOLDS_ITEM: &str = "the guard holds its item until it is dropped";
