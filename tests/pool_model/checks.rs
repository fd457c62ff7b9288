//! The checks after each step, at rest, and at the end of a run.

use std::task::Poll;
use std::time::Duration;

use concurrency_governor::pool::{DuringBackoff, PoolTotals};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::manager::CreationEnd;
use crate::model::{Checkout, ExpectedTotals, Model, ms, poll_once};

impl Model<'_> {
    /// Checks what holds after every step, although tasks may still have work to do.
    pub(crate) fn check_always(&mut self) {
        self.manager.check();
        let status = self.pool.status();
        let existing = self.manager.existing_items();
        self.manager.check_size(status.size);
        assert_eq!(existing, status.idle + status.in_use, "{status:?}");
        assert_eq!(status.size, existing + status.creating, "{status:?}");
        let left = status.totals.evicted + status.totals.detached + status.totals.discarded.sum();
        assert_eq!(status.totals.created + status.totals.added, existing as u64 + left, "{status:?}");
        self.check_totals(&status.totals);
        // An item that was created has ended the backoff, also if a failure has begun another one since.
        let has_created = std::mem::replace(&mut self.created, status.totals.created) < status.totals.created;
        if status.backing_off.is_none() || has_created {
            self.retries_from = None;
        }
        if status.backing_off.is_some() && self.retries_from.is_none() {
            self.retries_from = Some(self.manager.started_creations());
        }
        assert!(status.in_use >= self.in_use.len(), "{status:?}");
    }

    /// Checks the totals that the run knows, and that nothing is counted that cannot have happened.
    fn check_totals(&self, totals: &PoolTotals) {
        let discarded = &totals.discarded;
        let counted = ExpectedTotals {
            added: totals.added,
            detached: totals.detached,
            broken: discarded.broken,
            incomplete: discarded.incomplete,
            panicked: discarded.panicked,
            retain: discarded.retain,
            expired_checkouts: totals.expired.sum(),
        };
        assert_eq!(counted, self.expected, "{totals:?}");
        assert_eq!((discarded.recycle, totals.expired.check), (0, 0), "{totals:?}");
        assert!(discarded.closed == 0 || self.closed, "{totals:?}");
    }

    /// Checks what holds when no task has work to do.
    pub(crate) fn check_at_rest(&mut self) {
        let (status, gate, now) = (self.pool.status(), self.gate.status(), Instant::now());
        let limit = self.settings.limit as usize;

        // The counts of the status, and the permits.
        assert_eq!(status.in_use, self.in_use.len(), "{status:?}");
        assert_eq!(status.creating, self.manager.running_creations(), "{status:?}");
        assert_eq!(status.waiting, self.waiting.len(), "{status:?}");
        let admitted = self.waiting.len() - gate.waiting;
        assert_eq!(gate.in_use as usize, self.in_use.len() + admitted, "a permit was lost: {gate:?}");
        if self.closed {
            assert_eq!((status.idle, self.waiting.len(), status.creating), (0, 0, 0), "{status:?}");
            assert_eq!((status.backing_off, status.start_delay), (None, None), "{status:?}");
            return;
        }

        // No checkout waits that could be served.
        assert!(gate.waiting == 0 || gate.available == 0, "{gate:?}");
        if admitted > 0 {
            self.coverage.note("waits for an item");
            assert_eq!(status.idle, 0, "a waiter could be served: {status:?}");
            let is_provided = status.creating >= admitted || status.size >= limit;
            assert!(is_provided || status.backing_off.is_some(), "a waiter waits for nothing: {status:?}");
        }
        assert_eq!(status.start_delay, None, "{status:?}");

        // While creating items fails, no checkout waits that would have been rejected.
        let rejects = self.settings.during_backoff == DuringBackoff::Reject;
        match status.backing_off {
            Some(delay) if delay == Duration::MAX || (rejects && !delay.is_zero()) => {
                let is_provided = admitted <= status.creating || status.size >= limit;
                assert!(is_provided, "a waiter waits for the end of a delay: {status:?}");
            }
            _ => {}
        }
        if status.backing_off == Some(Duration::ZERO) && admitted > 0 {
            let is_retried = status.creating > 0 || status.size >= limit;
            assert!(is_retried, "the backoff delay is over, and no attempt is running: {status:?}");
        }

        // No idle item is above the limit, overdue for eviction, or expired.
        assert!(status.idle == 0 || status.size <= limit, "idle items above the limit: {status:?}");
        let min_idle = self.settings.min_idle.min(limit);
        if let (Some(timeout), Some((coldest, since))) = (self.settings.idle_timeout, self.idle.first()) {
            let is_due = self.idle.len() > min_idle && *since + timeout <= now;
            assert!(!is_due, "item {coldest} has been idle for {:?}: {status:?}", now - *since);
        }
        if let Some(lifetime) = self.settings.max_lifetime {
            for (id, _) in &self.idle {
                assert!(self.manager.age(*id) < lifetime, "item {id} has expired");
            }
        }

        // Items are evicted and expire only if the settings say so.
        if status.totals.evicted > 0 {
            self.coverage.note("evicted");
        }
        if self.settings.idle_timeout.is_none() {
            assert_eq!(status.totals.evicted, 0);
        }
        let expired = status.totals.discarded.expired;
        assert!(expired == 0 || self.settings.max_lifetime.is_some());
        if expired > 0 {
            self.coverage.note("expired");
        }
        if status.totals.discarded.surplus > 0 {
            self.coverage.note("surplus");
        }
    }

    /// Ends the run: returns everything, lets every creation succeed, and checks that nothing is lost and the whole limit can be
    /// checked out.
    pub(crate) async fn finish(mut self) {
        self.waiting.clear();
        self.in_use.clear();
        self.settle().await; // a permanent failure may be on its way
        self.pool.retry_now();
        for _ in 0..30 {
            advance(ms(1)).await;
            for _ in 0..12 {
                yield_now().await;
                self.manager.end_creation(0, CreationEnd::Created);
            }
        }
        let status = self.pool.status();
        assert_eq!(
            (status.in_use, status.creating, status.dropping, status.waiting),
            (0, 0, 0, 0),
            "{status:?}"
        );
        assert_eq!(self.gate.status().in_use, 0, "a permit was lost");
        assert_eq!(self.manager.existing_items(), status.idle);

        if !self.closed {
            let min_idle = self.settings.min_idle.min(self.settings.limit as usize);
            let must_refill = status.totals.discarded.sum() > 0 && self.settings.max_lifetime.is_none();
            assert!(!must_refill || status.idle >= min_idle, "the minimum was not refilled: {status:?}");
            let mut items = Vec::new();
            for _ in 0..self.settings.limit {
                let mut checkout: Checkout = {
                    let pool = self.pool.clone();
                    Box::pin(async move { pool.checkout().await })
                };
                items.push(loop {
                    if let Poll::Ready(outcome) = poll_once(&mut checkout) {
                        break outcome.unwrap();
                    }
                    yield_now().await;
                    self.manager.end_creation(0, CreationEnd::Created);
                });
            }
            self.manager.check();
        }

        self.pool.close();
        self.pool.drained().await; // no creation has to end for this
        assert_eq!(self.manager.running_creations(), 0);
        self.handle_for_drops.lock().unwrap().take();
        assert_eq!(self.manager.existing_items(), 0);
    }
}
