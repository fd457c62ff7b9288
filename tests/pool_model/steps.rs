//! The steps of a run, each with what must hold after it.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::pool::{CheckoutError, DuringBackoff, PooledItem};
use tokio::task::yield_now;

use crate::manager::{CreationEnd, ModelManager};
use crate::model::{Checkout, Model, ResizeBy, WaitingCheckout, ms, poll_once};

impl Model<'_> {
    /// Starts a checkout. If it is served at once, no other checkout may be waiting, and it gets the warmest item.
    pub(crate) fn check_out(&mut self) {
        self.serve_waiting(); // a checkout whose item has been delivered no longer waits
        let unstarted = self.pool.status().creating - self.manager.running_creations();
        let arrived = self.manager.started_creations() + unstarted as u64;
        let pool = self.pool.clone();
        let max_wait = [None, None, Some(ms(3))][self.random.below(3) as usize];
        let mut checkout: Checkout = Box::pin(async move {
            match max_wait {
                Some(wait) => pool.request().max_wait(wait).checkout().await,
                None => pool.checkout().await,
            }
        });
        match poll_once(&mut checkout) {
            Poll::Ready(outcome) => {
                self.coverage.note("served at once");
                match outcome {
                    Ok(item) => self.take_warmest(item),
                    Err(error) => self.note_error(&error),
                }
            }
            Poll::Pending => {
                self.coverage.note("waited");
                self.waiting.push(WaitingCheckout { checkout, arrived });
            }
        }
        self.serve_waiting();
    }

    pub(crate) fn try_checkout(&mut self) {
        self.serve_waiting();
        let Ok(item) = self.pool.try_checkout() else { return };
        self.take_warmest(item);
        self.coverage.note("served by try_checkout");
    }

    pub(crate) fn take_warmest(&mut self, item: PooledItem<ModelManager>) {
        assert!(self.waiting.is_empty(), "the checkout has overtaken {} others", self.waiting.len());
        self.forget_dropped();
        let (warmest, _) = self.idle.pop().expect("the item was not idle");
        assert_eq!(item.id, warmest, "not the warmest item");
        self.in_use.push(item);
    }

    /// Polls the waiting checkouts in order. None is served before an earlier one.
    pub(crate) fn serve_waiting(&mut self) {
        let mut one_is_pending = false;
        for mut waiting in std::mem::take(&mut self.waiting) {
            match poll_once(&mut waiting.checkout) {
                Poll::Pending => {
                    one_is_pending = true;
                    self.waiting.push(waiting);
                }
                Poll::Ready(Ok(item)) => {
                    assert!(!one_is_pending, "item {} has overtaken an earlier checkout", item.id);
                    self.forget_dropped(); // the checkout may have dropped unfit items that were warmer
                    self.idle.retain(|(id, _)| *id != item.id); // the item may have been idle in between
                    self.in_use.push(item);
                    self.coverage.note("served after a wait");
                }
                Poll::Ready(Err(error)) => self.note_error(&error),
            }
        }
    }

    pub(crate) fn note_error(&mut self, error: &CheckoutError) {
        self.coverage.note_error(error);
        if matches!(error, CheckoutError::DeadlineExceeded(_)) {
            self.expected.expired_checkouts += 1;
        }
        if let CheckoutError::BackingOff { retry_after, .. } = error {
            let rejects = self.settings.during_backoff == DuringBackoff::Reject;
            assert!(rejects || retry_after.is_none(), "a checkout was rejected instead of waiting");
        }
    }

    /// Returns a random item, fit or unfit.
    pub(crate) fn return_item(&mut self) {
        if self.in_use.is_empty() {
            return;
        }
        let mut item = self.in_use.swap_remove(self.random.index(self.in_use.len()));
        let id = item.id;
        let choice = self.random.below(9);
        let incomplete_by_default = self.settings.incomplete_by_default;
        item.recycle_panics = choice == 2;
        item.is_unhealthy = choice == 3;
        let is_fit = match choice {
            0 => {
                item.mark_broken();
                self.expected.broken += 1;
                false
            }
            1 => {
                item.begin();
                self.expected.incomplete += 1;
                false
            }
            4 if incomplete_by_default => {
                self.expected.incomplete += 1;
                false
            }
            _ => {
                item.complete();
                self.expected.panicked += u64::from(item.recycle_panics);
                !item.recycle_panics
            }
        };
        if self.random.below(3) == 0 {
            self.call_pool_on_drop(&mut item);
        }
        drop(item);
        let exists = self.manager.exists(id);
        assert!(is_fit || !exists, "item {id} was not dropped");
        if exists {
            self.push_idle(id);
            self.coverage.note("kept on return");
        }
        self.serve_waiting();
    }

    /// Makes the item's drop call the pool, whenever it happens: the item must still count, and a checkout that starts and is
    /// cancelled there must not make the pool exceed its limit.
    pub(crate) fn call_pool_on_drop(&self, item: &mut PooledItem<ModelManager>) {
        let (handle, manager) = (self.handle_for_drops.clone(), self.manager.clone());
        item.on_drop = Some(Box::new(move || {
            let Some(pool) = handle.lock().unwrap().clone() else { return };
            let status = pool.status();
            manager.check_size(status.size);
            if status.idle > 0 {
                return; // the checkout would take an idle item and make it the warmest
            }
            let mut checkout = Box::pin(async { pool.checkout().await.is_ok() });
            let _ = checkout.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            manager.check_size(pool.status().size);
        }));
    }

    pub(crate) fn detach_item(&mut self) {
        let Some(item) = self.in_use.pop() else { return };
        let id = item.id;
        let mut detached = item.detach();
        detached.on_drop = None; // its checks hold for items of the pool only
        self.expected.detached += 1;
        drop(detached);
        assert!(!self.manager.exists(id));
        self.serve_waiting();
    }

    /// Adds an item that exists already, if there is a slot for it.
    pub(crate) fn add_item(&mut self) {
        let status = self.pool.status();
        let has_slot = !self.closed && status.size < self.settings.limit as usize;
        let item = self.manager.item_of_the_user();
        let id = item.id;
        match self.pool.add(item) {
            Ok(()) => {
                assert!(has_slot, "an item was added to a full pool: {status:?}");
                self.manager.adopt(id);
                self.expected.added += 1;
                self.coverage.note("added");
            }
            Err(error) => {
                assert!(!has_slot, "{error}");
                drop(error.into_item());
            }
        }
        self.serve_waiting();
        self.update_idle();
    }

    pub(crate) fn retry_now(&mut self) {
        let was_backing_off = self.pool.status().backing_off.is_some();
        self.pool.retry_now();
        assert_eq!(self.pool.status().backing_off, None);
        if was_backing_off {
            self.coverage.note("tried again at once");
        }
        self.retries_from = None;
        self.serve_waiting();
    }

    pub(crate) fn cancel_checkout(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.random.index(self.waiting.len());
        drop(self.waiting.remove(at)); // an item that was being delivered is idle now, or goes to the next waiter
        self.coverage.note("cancelled");
        self.serve_waiting();
        self.update_idle();
    }

    pub(crate) async fn end_creation(&mut self) {
        let running = self.manager.running_creations();
        if running == 0 {
            return;
        }
        let end = match self.random.index(40) {
            0..=25 => CreationEnd::Created,
            26..=32 => CreationEnd::Failed,
            33 => CreationEnd::FailedPermanently,
            _ => CreationEnd::Panicked,
        };
        let nth = self.random.index(running);
        let ended = self.manager.nth_creation(nth);
        let is_retry = self.retries_from.is_some_and(|first| ended.is_some_and(|ended| first <= ended));
        let exist = self.manager.existing_items() + self.in_use.len();
        self.serve_waiting();
        let at_gate = self.gate.status().waiting;
        self.manager.end_creation(nth, end);
        let waits = self.settings.during_backoff == DuringBackoff::Wait && !self.closed;
        if end == CreationEnd::Failed && is_retry && exist > 0 && waits {
            self.settle().await;
            // After a permanent failure, a checkout that is admitted and needs a new item is rejected.
            let has_given_up = self.pool.status().backing_off == Some(Duration::MAX);
            let none_ended = self.waiting.len() >= at_gate;
            assert!(has_given_up || none_ended, "a wait at the gate was ended although an item exists");
            self.coverage.note("failed after a delay with an item");
        } else if end == CreationEnd::Failed && is_retry && exist == 0 && !self.closed {
            self.settle().await;
            if self.manager.existing_items() == 0 {
                // Nothing will serve those that arrived before the attempt started, wherever they wait.
                let all_ended = self.waiting.iter().all(|waiting| Some(waiting.arrived) > ended);
                assert!(all_ended, "a checkout waits for nothing: {:?}", self.pool.status());
                self.coverage.note("failed after a delay without an item");
            }
        }
        if self.random.below(3) == 0 && !self.waiting.is_empty() {
            // The task sends its item, and the waiter is cancelled before it is polled.
            yield_now().await;
            yield_now().await;
            if self.pool.status().in_use > self.in_use.len() {
                self.coverage.note("cancelled during delivery");
            }
            self.cancel_checkout();
        }
    }

    pub(crate) fn resize(&mut self, by: ResizeBy) {
        if self.settings.has_fixed_limit {
            return;
        }
        let limit = 1 + self.random.below(5);
        self.manager.begin_resize(limit as usize);
        match by {
            ResizeBy::Pool => {
                self.pool.resize(Limit::new(limit));
                self.manager.finish_resize(limit as usize);
                self.forget_coldest();
            }
            ResizeBy::Gate => {
                self.gate.resize(Limit::new(limit));
                self.manager.finish_resize(limit as usize);
            }
        }
        self.settings.limit = limit;
        self.coverage.note("resized");
        self.serve_waiting();
    }

    pub(crate) fn retain(&mut self) {
        let actual = self.actual_idle();
        self.forget_dropped();
        assert_eq!(actual, self.idle_ids(), "not the idle items from the coldest to the warmest");
        let remainder = u64::from(self.random.below(3));
        let discarded = self.pool.retain(|item, _| item.id % 3 != remainder);
        assert_eq!(discarded, actual.iter().filter(|id| **id % 3 == remainder).count());
        self.expected.retain += discarded as u64;
        self.forget_dropped();
        self.serve_waiting();
    }

    pub(crate) async fn close(&mut self) {
        self.pool.close();
        self.closed = true;
        self.retries_from = None;
        self.forget_dropped();
        assert!(self.idle.is_empty());
        self.coverage.note("closed");
        self.serve_waiting();
        assert!(self.waiting.is_empty(), "a checkout still waits");
        self.settle().await;
        assert_eq!(self.manager.running_creations(), 0, "a creation goes on in a closed pool");
    }
}
