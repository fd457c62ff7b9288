//! Leases: an item held, and given back on drop.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::books::Entry;
use super::caught::caught;
use super::shared::Shared;
use super::{DiscardReason, Manager, Verdict};
use crate::gate::{OwnedPermit, clock};

/// An item of a [`Pool`](super::Pool), yours until this is dropped. Then the item goes back to be used again, and is the
/// next to be handed out.
///
/// It is dropped instead if it is [marked broken](Self::mark_broken), if the lease goes between [`begin`](Self::begin) and
/// [`complete`](Self::complete), if it goes because a panic unwinds through it, if [`Manager::recycle`] refuses the item or
/// panics, if the item is older than the pool's longest lifetime, if the limit was lowered below what there is, or if the
/// pool was closed. In every case its place is free again after, which is not before the item is gone.
///
/// It outlives every handle of the pool, and the runtime; it goes on whatever becomes of the limit.
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
/// /// If this is dropped midway, the answer would be taken for that to the next request: so the connection is dropped, too.
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
#[must_use = "a lease that is dropped at once has leased nothing"]
pub struct PooledItem<M: Manager> {
    /// `None` once it is somebody else's.
    item: Option<M::Item>,
    /// When it was made.
    created: i64,
    /// What is against using the item again.
    objection: Option<DiscardReason>,
    /// The thread was unwinding when it got the item, so that says nothing about the item.
    unwinding: bool,
    permit: Option<OwnedPermit>,
    shared: Arc<Shared<M>>,
}

impl<M: Manager> PooledItem<M> {
    /// Of an item that counts as in use.
    #[inline]
    pub(super) fn new(shared: &Arc<Shared<M>>, entry: Entry<M::Item>, permit: OwnedPermit) -> Self {
        Self {
            item: Some(entry.item),
            created: entry.created,
            objection: None,
            unwinding: thread::panicking(),
            permit: Some(permit),
            shared: Arc::clone(shared),
        }
    }

    /// From now until [`complete`](Self::complete) the item is not fit for anybody else: if the lease is dropped in
    /// between, so is the item.
    pub fn begin(&mut self) {
        self.objection.get_or_insert(DiscardReason::Incomplete);
    }

    /// What was [begun](Self::begin) is over, and the item fit for the next.
    pub fn complete(&mut self) {
        if self.objection == Some(DiscardReason::Incomplete) {
            self.objection = None;
        }
    }

    /// Has the item dropped when the lease is. There is no way back.
    pub fn mark_broken(&mut self) {
        self.objection = Some(DiscardReason::Broken);
    }

    /// Drops the item now, and frees its place.
    pub fn discard(mut self) {
        self.mark_broken();
    }

    /// Takes the item out of the pool for good, which counts it no more: its place is free for another.
    #[expect(clippy::missing_panics_doc, reason = "a lease holds its item until it is dropped")]
    pub fn detach(mut self) -> M::Item {
        let item = self.item.take().expect(HOLDS_ITS_ITEM);
        self.shared.detach();
        item
    }

    /// How long ago the item was made.
    #[must_use]
    pub fn age(&self) -> Duration {
        let age = clock::now().saturating_sub(self.created);
        Duration::from_nanos(u64::try_from(age).unwrap_or(0))
    }

    /// Its health is being checked: from here to [`checked`](Self::checked) the item is fit for nobody.
    #[inline]
    pub(super) fn checking(&mut self) -> &mut M::Item {
        self.objection = Some(DiscardReason::Health);
        self
    }

    #[inline]
    pub(super) fn checked(&mut self) {
        self.objection = None;
    }

    /// Drops the item, and gives the permit to who needs another.
    pub(super) fn replace(mut self, reason: DiscardReason) -> OwnedPermit {
        let item = self.item.take().expect(HOLDS_ITS_ITEM);
        self.shared.discard(Entry::new(item, self.created), reason);
        self.permit.take().expect("a lease has its permit until it is dropped")
    }

    /// What is against using the item again, but for its manager.
    #[inline]
    fn objection(&self) -> Option<DiscardReason> {
        match self.objection {
            Some(DiscardReason::Broken) => self.objection,
            _ if thread::panicking() && !self.unwinding => Some(DiscardReason::Panicked),
            objection => objection,
        }
    }
}

impl<M: Manager> Deref for PooledItem<M> {
    type Target = M::Item;

    #[inline]
    fn deref(&self) -> &M::Item {
        self.item.as_ref().expect(HOLDS_ITS_ITEM)
    }
}

impl<M: Manager> DerefMut for PooledItem<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Item {
        self.item.as_mut().expect(HOLDS_ITS_ITEM)
    }
}

impl<M: Manager> Drop for PooledItem<M> {
    /// The permit goes after this, as a field: whoever gets it finds the item, or its place.
    #[inline]
    fn drop(&mut self) {
        let objection = self.objection();
        let Some(item) = self.item.take() else { return };
        let mut entry = Entry::new(item, self.created);
        if let Some(reason) = objection {
            return self.shared.discard(entry, reason);
        }
        match caught(|| self.shared.manager.recycle(&mut entry.item)) {
            Ok(Verdict::Keep) => self.shared.give_back(entry),
            Ok(Verdict::Discard) => self.shared.discard(entry, DiscardReason::Recycle),
            Err(_) => self.shared.discard(entry, DiscardReason::Panicked),
        }
    }
}

impl<M: Manager> fmt::Debug for PooledItem<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledItem")
            .field("gate", &self.shared.gate.name())
            .field("objection", &self.objection)
            .finish_non_exhaustive()
    }
}

const HOLDS_ITS_ITEM: &str = "a lease holds its item until it is dropped";
