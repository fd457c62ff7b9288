//! What holds after each step, at rest, and in the end.

use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use super::hands::End;
use super::{Checkout, Model, ms, poll};

impl Model<'_> {
    /// What holds after every step, whatever is still to be done.
    pub(super) fn check(&mut self) {
        self.maker.check();
        let status = self.pool.status();
        let there = self.maker.there();
        self.maker.counts(status.size);
        assert_eq!(there, status.idle + status.in_use, "{status:?}");
        assert_eq!(status.size, there + status.creating, "{status:?}");
        let left = status.totals.evicted + status.totals.detached + status.totals.discarded.sum();
        assert_eq!(status.totals.created, there as u64 + left, "{status:?}");
        assert_eq!(status.totals.detached, self.detached);
        assert!(status.in_use >= self.leases.len(), "{status:?}");
    }

    /// What holds once nobody has anything to do.
    pub(super) fn check_at_rest(&mut self) {
        let (status, gate, now) = (self.pool.status(), self.gate.status(), Instant::now());
        assert_eq!(status.in_use, self.leases.len(), "{status:?}");
        assert_eq!(status.creating, self.maker.under_way(), "{status:?}");
        assert_eq!(status.waiting, self.waiting.len(), "{status:?}");
        let wanting = self.waiting.len() - gate.waiting;
        assert_eq!(gate.in_use as usize, self.leases.len() + wanting, "a permit is lost: {gate:?}");
        if self.closed {
            assert_eq!((status.idle, self.waiting.len()), (0, 0), "{status:?}");
            return;
        }
        assert!(gate.waiting == 0 || gate.available == 0, "{gate:?}");
        if wanting > 0 {
            self.seen.note("waits for an item");
            assert_eq!(status.idle, 0, "it could be served: {status:?}");
            let is_served = status.creating >= wanting || status.size >= self.shape.limit as usize;
            assert!(is_served || status.backing_off.is_some(), "it waits for nothing: {status:?}");
        }
        if status.backing_off == Some(Duration::ZERO) && wanting > 0 {
            let is_tried = status.creating > 0 || status.size >= self.shape.limit as usize;
            assert!(is_tried, "the pause is over, and nothing is tried: {status:?}");
        }
        assert!(
            status.idle == 0 || status.size <= self.shape.limit as usize,
            "too many are idle: {status:?}"
        );
        let least = self.shape.min_idle.min(self.shape.limit as usize);
        if let (Some(timeout), Some((coldest, since))) = (self.shape.idle_timeout, self.idle.first()) {
            let is_due = self.idle.len() > least && *since + timeout <= now;
            assert!(!is_due, "item {coldest} is idle for {:?}: {status:?}", now - *since);
        }
        if let Some(lifetime) = self.shape.max_lifetime {
            for (id, _) in &self.idle {
                assert!(self.maker.age(*id) < lifetime, "item {id} is too old");
            }
        }
        if status.totals.evicted > 0 {
            self.seen.note("evicted");
        }
        if self.shape.idle_timeout.is_none() {
            assert_eq!(status.totals.evicted, 0);
        }
        let expired = status.totals.discarded.expired;
        assert!(expired == 0 || self.shape.max_lifetime.is_some());
        if expired > 0 {
            self.seen.note("expired");
        }
        if status.totals.discarded.surplus > 0 {
            self.seen.note("surplus");
        }
    }

    /// In the end everything comes to rest: all that was made is there or gone, and every place can be had.
    pub(super) async fn finish(mut self) {
        self.waiting.clear();
        self.leases.clear();
        for _ in 0..30 {
            advance(ms(1)).await;
            for _ in 0..12 {
                yield_now().await;
                self.maker.end(0, End::Made);
            }
        }
        let status = self.pool.status();
        assert_eq!(
            (status.in_use, status.creating, status.dropping, status.waiting),
            (0, 0, 0, 0),
            "{status:?}"
        );
        assert_eq!(self.gate.status().in_use, 0, "a permit is lost");
        assert_eq!(self.maker.there(), status.idle);
        if !self.closed {
            let least = self.shape.min_idle.min(self.shape.limit as usize);
            let owed = status.totals.discarded.sum() > 0 && self.shape.max_lifetime.is_none();
            assert!(!owed || status.idle >= least, "the minimum is not filled again: {status:?}");
            let mut all = Vec::new();
            for _ in 0..self.shape.limit {
                let mut checkout: Checkout = {
                    let pool = self.pool.clone();
                    Box::pin(async move { pool.checkout().await })
                };
                let leased = loop {
                    if let Poll::Ready(outcome) = poll(&mut checkout) {
                        break outcome.unwrap();
                    }
                    yield_now().await;
                    self.maker.end(0, End::Made);
                };
                all.push(leased);
            }
            self.maker.check();
        }
        self.pool.close();
        while self.maker.under_way() > 0 {
            self.maker.end(0, End::Made);
            yield_now().await;
        }
        self.pool.drained().await;
        self.handle.lock().unwrap().take();
        assert_eq!(self.maker.there(), 0);
    }
}
