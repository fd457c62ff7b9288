//! The model of a group: random steps on several pools whose items share one limit.
//!
//! After each step the following is checked:
//!
//! - The items and creations of all pools together never exceed the limit, or their number when the limit was lowered.
//! - The group counts what exists, and so do its pools.
//! - No admitted checkout waits while a slot is free, or while another pool has an idle item that could make room.
//! - In the end no slot, item or permit is lost, and each pool can check out the whole limit.

use std::task::Poll;

use concurrency_governor::pool::{CheckoutError, Pool, PoolGroup, PoolStatus, PooledItem};
use concurrency_governor::testing::seed_jitter;
use concurrency_governor::{Gate, GateName, Limit};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::advance;

use crate::manager::{Coverage, CreationEnd, ModelManager};
use crate::model::{Checkout, ms, poll_once};
use crate::random::Random;

/// Takes the run with this number.
pub(crate) fn take_run(run: u64, coverage: &mut Coverage) {
    seed_jitter(run);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut model = GroupModel::new(run, coverage);
        for _ in 0..20 + model.random.below(100) {
            model.step().await;
        }
        model.finish().await;
    });
}

struct GroupModel<'c> {
    random: Random,
    coverage: &'c mut Coverage,
    manager: ModelManager,
    group: PoolGroup,
    limit: u32,
    members: Vec<ModelMember>,
}

/// A pool of the group, and what is checked out of it.
struct ModelMember {
    pool: Pool<ModelManager>,
    in_use: Vec<PooledItem<ModelManager>>,
    waiting: Vec<Checkout>,
}

impl<'c> GroupModel<'c> {
    /// Starts the pools. Needs a runtime.
    fn new(run: u64, coverage: &'c mut Coverage) -> Self {
        let mut random = Random::new(run);
        let limit = 1 + random.below(5);
        let manager = ModelManager::new(limit as usize);
        let group = PoolGroup::new(Gate::new(GateName::new("modelled"), Limit::new(limit)));
        let mut members = Vec::new();
        for _ in 0..2 + random.below(3) {
            let mut builder = Pool::builder(manager.clone())
                .group(&group)
                .min_idle([0, 0, 1][random.below(3) as usize])
                .create_timeout(ms(50))
                .create_backoff(ms(4), ms(16));
            if random.below(3) == 0 {
                builder = builder.idle_timeout(ms(20));
            }
            if random.below(3) == 0 {
                builder = builder.max_lifetime(ms(70));
            }
            members.push(ModelMember {
                pool: builder.start().unwrap(),
                in_use: Vec::new(),
                waiting: Vec::new(),
            });
        }
        Self { random, coverage, manager, group, limit, members }
    }

    async fn step(&mut self) {
        self.coverage.steps += 1;
        let at = self.random.index(self.members.len());
        let kind = self.random.below(20);
        let member = &mut self.members[at];
        match kind {
            0..=5 => {
                let pool = member.pool.clone();
                let mut checkout: Checkout = Box::pin(async move { pool.checkout().await });
                match poll_once(&mut checkout) {
                    Poll::Ready(outcome) => member.in_use.extend(outcome),
                    Poll::Pending => member.waiting.push(checkout),
                }
            }
            6..=9 if !member.in_use.is_empty() => {
                let mut item = member.in_use.swap_remove(self.random.index(member.in_use.len()));
                match self.random.below(6) {
                    0 => item.begin(),
                    1 => item.recycle_panics = true,
                    2 => drop(item.detach()),
                    _ => {}
                }
            }
            10..=13 => {
                let end = match self.random.index(8) {
                    0 => CreationEnd::Failed,
                    1 => CreationEnd::Panicked,
                    _ => CreationEnd::Created,
                };
                self.manager.end_creation(self.random.index(4), end);
            }
            14 if !member.waiting.is_empty() => {
                let cancelled = self.random.index(member.waiting.len());
                drop(member.waiting.swap_remove(cancelled));
            }
            15 => advance(ms(1 + u64::from(self.random.below(30)))).await,
            16 => {
                member.pool.retain(|item, _| item.id % 2 == 0);
            }
            17 => {
                let limit = 1 + self.random.below(5);
                self.manager.begin_resize(limit as usize);
                self.group.gate().resize(Limit::new(limit));
                self.manager.finish_resize(limit as usize);
                self.limit = limit;
            }
            18 if self.random.below(8) == 0 && self.members.len() > 1 => drop(self.members.swap_remove(at)),
            _ => {}
        }
        if self.random.below(3) > 0 {
            self.settle().await;
            self.check_at_rest();
        }
        self.check_always();
    }

    /// Polls the waiting checkouts until no task has work to do.
    async fn settle(&mut self) {
        for _ in 0..16 {
            yield_now().await;
            for member in &mut self.members {
                for mut checkout in std::mem::take(&mut member.waiting) {
                    match poll_once(&mut checkout) {
                        Poll::Pending => member.waiting.push(checkout),
                        Poll::Ready(Ok(item)) => {
                            member.in_use.push(item);
                            self.coverage.note("served in a group after a wait");
                        }
                        Poll::Ready(Err(error)) => {
                            assert!(matches!(error, CheckoutError::Create(_)), "{error:?}");
                        }
                    }
                }
            }
        }
    }

    fn statuses(&self) -> Vec<PoolStatus> {
        self.members.iter().map(|member| member.pool.status()).collect()
    }

    fn check_always(&self) {
        self.manager.check();
        let statuses = self.statuses();
        let sum = |of: fn(&PoolStatus) -> usize| statuses.iter().map(of).sum::<usize>();
        // A pool whose handle was dropped may still have a creation that is being cancelled.
        assert!(self.group.items() >= sum(|status| status.size), "{statuses:?}");
        assert!(self.manager.existing_items() >= sum(|status| status.idle + status.in_use), "{statuses:?}");
    }

    fn check_at_rest(&mut self) {
        let (statuses, gate) = (self.statuses(), self.group.gate().status());
        let sum = |of: fn(&PoolStatus) -> usize| statuses.iter().map(of).sum::<usize>();
        let (items, idle) = (self.group.items(), sum(|status| status.idle));
        assert_eq!((items, sum(|status| status.dropping)), (sum(|status| status.size), 0), "{statuses:?}");
        assert_eq!(self.manager.existing_items(), idle + sum(|status| status.in_use), "{statuses:?}");
        let limit = self.limit as usize;
        assert!(idle == 0 || items <= limit, "idle items above the limit: {statuses:?}");
        for status in &statuses {
            let admitted = status.waiting - gate.waiting;
            if admitted > status.creating && status.backing_off.is_none() {
                self.coverage.note("waits for a slot in a group");
                assert!(items >= limit, "a slot is free, and a waiter lacks one: {statuses:?}");
                assert_eq!(idle, 0, "an idle item could make room: {statuses:?}");
            }
            if status.totals.discarded.surplus > 0 {
                self.coverage.note("made room, or above a lowered limit");
            }
        }
    }

    /// Ends the run: each pool in turn can check out the whole limit, and in the end nothing is left.
    async fn finish(mut self) {
        for member in &mut self.members {
            member.waiting.clear();
            member.in_use.clear();
        }
        for _ in 0..30 {
            advance(ms(1)).await; // also ends the delays after failures
            for _ in 0..12 {
                yield_now().await;
                self.manager.end_creation(0, CreationEnd::Created);
            }
        }
        for at in 0..self.members.len() {
            let mut items = Vec::new();
            for _ in 0..self.limit {
                let pool = self.members[at].pool.clone();
                pool.retry_now();
                let mut checkout: Checkout = Box::pin(async move { pool.checkout().await });
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
        for member in &self.members {
            member.pool.close();
            member.pool.drained().await;
        }
        self.settle().await;
        assert_eq!((self.group.items(), self.manager.existing_items()), (0, 0), "a slot or an item is lost");
        assert_eq!(self.group.gate().status().in_use, 0, "a permit is lost");
    }
}
