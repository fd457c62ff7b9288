//! The wait of an admitted checkout for an item.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::delivery::{ItemDelivery, delivery_channel};
use super::error::CheckoutError;
use super::item_record::ItemRecord;
use super::manager::Manager;
use super::shared::PoolShared;
use super::state::CheckoutArrival;
use super::sync::{has_timer, with_deadline, yield_point};
use crate::gate::AcquireError;
use crate::gate::clock::{self, NEVER};

/// A place in the wait queue for items. Dropping it leaves the queue, and passes on an item that has already been sent.
pub(super) struct ItemWait<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
    ticket: u64,
    receiver: oneshot::Receiver<ItemDelivery<M>>,
    is_over: bool,
}

impl<'s, M: Manager> ItemWait<'s, M> {
    /// Takes the warmest idle item, or joins the wait queue if no item is idle.
    pub(super) fn take_or_enqueue(
        shared: &'s Arc<PoolShared<M>>,
        arrival: CheckoutArrival,
    ) -> Result<ItemRecord<M::Item>, Self> {
        let (sender, receiver) = delivery_channel();
        let now = clock::now();
        let taken = shared.apply(|state, effects| {
            if let Some(record) = state.take_unexpired(now, effects) {
                state.record_wait(arrival.wait, || now);
                return Ok(record);
            }
            Err(state.enqueue(sender, arrival, now, shared.gate.item_limit(), effects))
        });
        taken.map_err(|ticket| Self { shared, ticket, receiver, is_over: false })
    }

    /// Joins the wait queue for one of the first items of a pool, although others may be idle.
    pub(super) fn enqueue_first(shared: &'s Arc<PoolShared<M>>) -> Self {
        let (sender, receiver) = delivery_channel();
        let (now, arrival) = (clock::now(), CheckoutArrival { is_first: true, ..CheckoutArrival::default() });
        let ticket = shared
            .apply(|state, effects| state.enqueue(sender, arrival, now, shared.gate.item_limit(), effects));
        Self { shared, ticket, receiver, is_over: false }
    }

    /// Waits for the delivery until the deadline. Dropping the future drops the place in the queue.
    ///
    /// The pool's runtime may be alive without running its tasks, which only the waiter can notice. So the waiter checks for that
    /// once per create timeout, if it can set a timer.
    pub(super) async fn delivery(mut self, deadline: i64) -> Option<ItemDelivery<M>> {
        let checks_start = deadline != NEVER || has_timer();
        loop {
            let check =
                if checks_start { clock::add(clock::now(), self.shared.create_timeout) } else { NEVER };
            let delivery = with_deadline(deadline.min(check), &mut self.receiver).await;
            if let Some(delivery) = delivery {
                self.is_over = true;
                // The pool sends to every waiter before it drops the sender.
                return Some(delivery.unwrap_or_else(|_| ItemDelivery::Ended(self.closed_error())));
            }
            if deadline <= check {
                return None;
            }
            let now = clock::now();
            self.shared
                .apply(|state, effects| state.check_start(now, self.shared.gate.item_limit(), effects));
        }
    }

    fn closed_error(&self) -> CheckoutError {
        CheckoutError::Rejected(AcquireError::Closed { gate: self.shared.gate.name() })
    }
}

impl<M: Manager> Drop for ItemWait<'_, M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let sender = self.shared.apply(|state, effects| state.cancel(self.ticket, effects));
        yield_point();
        // The channel is closed first: from then on the sending thread keeps its item. What was sent before is received here.
        self.receiver.close();
        if let Some(record) = self.receiver.try_recv().ok().and_then(ItemDelivery::into_record) {
            self.shared.put_back_slow(record);
        }
        yield_point(); // a delivery that came now would be lost if the channel were open
        drop(sender); // wakes no task, because the receiver is closed
    }
}
