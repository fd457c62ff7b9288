//! The channel through which a waiter gets its item.

use tokio::sync::oneshot;

use super::error::CheckoutError;
use super::item_record::ItemRecord;
use super::manager::Manager;

/// The end of a wait for an item.
pub(super) enum ItemDelivery<M: Manager> {
    /// An item that was checked out before.
    Reused(ItemRecord<M::Item>),
    /// An item that was just created.
    Created(ItemRecord<M::Item>),
    /// The limit has no room for the item. Only the waits for the first items of a pool end so.
    NoRoom,
    /// The wait ends without an item.
    Ended(CheckoutError),
}

impl<M: Manager> ItemDelivery<M> {
    pub(super) fn into_record(self) -> Option<ItemRecord<M::Item>> {
        match self {
            Self::Reused(record) | Self::Created(record) => Some(record),
            Self::NoRoom | Self::Ended(_) => None,
        }
    }
}

/// The pool's half of the channel. The state stores it and never sends under the lock, because sending wakes a task.
pub(super) struct DeliverySender<M: Manager>(oneshot::Sender<ItemDelivery<M>>);

impl<M: Manager> DeliverySender<M> {
    /// Sends the delivery and wakes the waiter. Returns the delivery if the waiter is gone.
    pub(super) fn send(self, delivery: ItemDelivery<M>) -> Result<(), ItemDelivery<M>> {
        self.0.send(delivery)
    }
}

pub(super) fn delivery_channel<M: Manager>() -> (DeliverySender<M>, oneshot::Receiver<ItemDelivery<M>>) {
    let (sender, receiver) = oneshot::channel();
    (DeliverySender(sender), receiver)
}
