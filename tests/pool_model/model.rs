//! The model: random steps on a pool, and an oracle that knows little but the promises.
//!
//! Every item counts itself until its drop ends, and every creation ends when and as the run decides. After each step the
//! following is checked:
//!
//! - Items and creations together never exceed the limit, or their number when the limit was lowered.
//! - The idle items are the expected ones, in the order in which they came back, and the warmest is handed out.
//! - Waiters are served in order, none is overtaken, and none waits while an item exists or could be created for it.
//! - Items are evicted and expire only at their age, and the coldest are dropped first.
//! - While creating items fails, no checkout waits that nothing will serve: neither an attempt nor an existing item. That includes
//!   those in the gate's queue.
//! - Every number of the status matches the oracle, each discard is counted by its reason, and nothing is lost in the end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::pool::{CheckoutError, DuringBackoff, Pool, PooledItem};
use concurrency_governor::testing::seed_jitter;
use concurrency_governor::{Gate, GateName, Limit};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::manager::{Coverage, CreationEnd, ModelManager};
use crate::random::Random;

/// Takes the run with this number.
pub(crate) fn take_run(run: u64, coverage: &mut Coverage, prints_steps: bool) {
    seed_jitter(run);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut random = Random::new(run);
    runtime.block_on(async {
        let mut model = Model::new(&mut random, coverage, prints_steps).await;
        for _ in 0..20 + model.random.below(100) {
            model.step().await;
        }
        model.finish().await;
    });
}

pub(crate) type Checkout = Pin<Box<dyn Future<Output = Result<PooledItem<ModelManager>, CheckoutError>>>>;

pub(crate) struct Model<'r> {
    pub(crate) random: &'r mut Random,
    pub(crate) coverage: &'r mut Coverage,
    prints_steps: bool,
    pub(crate) manager: ModelManager,
    pub(crate) gate: Gate,
    pub(crate) pool: Pool<ModelManager>,
    /// A handle for the drops of items, which call the pool until the run ends.
    pub(crate) handle_for_drops: Arc<Mutex<Option<Pool<ModelManager>>>>,
    pub(crate) settings: Settings,
    /// The expected idle items from the coldest to the warmest, and since when each is idle.
    pub(crate) idle: Vec<(u64, Instant)>,
    pub(crate) in_use: Vec<PooledItem<ModelManager>>,
    /// Pending checkouts in order of arrival.
    pub(crate) waiting: Vec<WaitingCheckout>,
    pub(crate) expected: ExpectedTotals,
    /// Creations from this number on started during the present backoff, so that one of them was made after its delay.
    pub(crate) retries_from: Option<u64>,
    /// The items that the pool had created at the last check.
    pub(crate) created: u64,
    pub(crate) closed: bool,
}

/// A pending checkout.
pub(crate) struct WaitingCheckout {
    pub(crate) checkout: Checkout,
    /// The number of creations that had started when it arrived, or whose tasks had been spawned.
    pub(crate) arrived: u64,
}

/// Totals that the run knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpectedTotals {
    pub(crate) added: u64,
    pub(crate) detached: u64,
    pub(crate) broken: u64,
    pub(crate) incomplete: u64,
    pub(crate) panicked: u64,
    pub(crate) retain: u64,
    pub(crate) expired_checkouts: u64,
}

/// The settings of the pool of a run.
pub(crate) struct Settings {
    pub(crate) limit: u32,
    /// Whether the run never changes the limit.
    pub(crate) has_fixed_limit: bool,
    pub(crate) min_idle: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) during_backoff: DuringBackoff,
    /// Whether each item is incomplete from its checkout on.
    pub(crate) incomplete_by_default: bool,
}

impl<'r> Model<'r> {
    async fn new(random: &'r mut Random, coverage: &'r mut Coverage, prints_steps: bool) -> Self {
        let limit = 1 + random.below(4);
        let settings = Settings {
            limit,
            has_fixed_limit: random.below(3) == 0,
            min_idle: [0, 0, 1, 2, 6][random.below(5) as usize],
            idle_timeout: (random.below(2) == 0).then(|| ms(20)),
            max_lifetime: (random.below(3) == 0).then(|| ms(70)),
            during_backoff: [DuringBackoff::Wait, DuringBackoff::Reject][random.below(2) as usize],
            incomplete_by_default: random.below(3) == 0,
        };
        let manager = ModelManager::new(limit as usize);
        let gate = Gate::new(GateName::new("modelled"), Limit::new(limit));
        let mut builder = Pool::builder(manager.clone())
            .gate(gate.clone())
            .min_idle(settings.min_idle)
            .create_timeout(ms(50))
            .create_backoff(ms(4), ms(16))
            .during_backoff(settings.during_backoff);
        if settings.incomplete_by_default {
            builder = builder.incomplete_by_default();
        }
        if let Some(timeout) = settings.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(lifetime) = settings.max_lifetime {
            builder = builder.max_lifetime(lifetime);
        }
        let mut building = Box::pin(builder.build());
        let pool = loop {
            if let Poll::Ready(built) = building.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break built.unwrap();
            }
            yield_now().await;
            manager.end_creation(0, CreationEnd::Created);
        };
        let mut model = Self {
            random,
            coverage,
            prints_steps,
            manager,
            gate,
            handle_for_drops: Arc::new(Mutex::new(Some(pool.clone()))),
            pool,
            settings,
            idle: Vec::new(),
            in_use: Vec::new(),
            waiting: Vec::new(),
            expected: ExpectedTotals::default(),
            retries_from: None,
            created: 0,
            closed: false,
        };
        model.idle = model.actual_idle().into_iter().map(|id| (id, Instant::now())).collect();
        model.check_always();
        model
    }

    async fn step(&mut self) {
        self.coverage.steps += 1;
        self.update_idle(); // the last step may have left tasks running that made items idle
        let kind = self.random.below(25);
        if self.prints_steps {
            eprintln!("step {kind}: idle {:?}, {:?}", self.idle, self.pool.status());
        }
        match kind {
            0..=4 => self.check_out(),
            5..=8 => self.return_item(),
            9..=12 => self.end_creation().await,
            13 => self.cancel_checkout(),
            14 => self.try_checkout(),
            15 => self.resize(ResizeBy::Pool),
            16 => self.resize(ResizeBy::Gate),
            17 => self.retain(),
            18..=19 => advance(ms(1 + u64::from(self.random.below(30)))).await,
            20 => self.detach_item(),
            21..=22 => self.add_item(),
            23 => self.retry_now(),
            _ if self.random.below(12) == 0 => self.close().await,
            _ => {}
        }
        if self.random.below(4) > 0 {
            self.settle().await;
            self.check_at_rest();
        }
        self.check_always();
    }

    pub(crate) async fn settle(&mut self) {
        for _ in 0..12 {
            yield_now().await;
            self.serve_waiting();
        }
        self.update_idle();
    }

    /// Returns the pool's idle items, from the coldest to the warmest.
    pub(crate) fn actual_idle(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        self.pool.retain(|item, _| {
            ids.push(item.id);
            true
        });
        ids
    }

    pub(crate) fn idle_ids(&self) -> Vec<u64> {
        self.idle.iter().map(|(id, _)| *id).collect()
    }

    /// Removes dropped items from the expected idle items, and adds those that became idle since: created without a waiter, or
    /// passed on by a cancelled checkout. Then compares the expected items with the actual ones.
    pub(crate) fn update_idle(&mut self) {
        if self.settings.max_lifetime.is_none() {
            self.forget_coldest(); // without a lifetime, items are dropped from the coldest on
        }
        self.forget_dropped();
        for id in self.actual_idle() {
            if !self.idle.iter().any(|(known, _)| *known == id) {
                self.push_idle(id);
            }
        }
        self.forget_dropped(); // reading the idle items can discard one above the limit
        let (expected, mut actual) = (self.idle_ids(), self.actual_idle());
        if expected.len() != actual.len() {
            let is_in_use = |id: &u64| self.in_use.iter().any(|item| item.id == *id);
            panic!(
                "items {actual:?} are idle, not {expected:?}; in use: {:?}",
                expected.iter().map(is_in_use).collect::<Vec<_>>()
            );
        }
        actual.retain(|id| expected.contains(id));
        assert_eq!(actual, expected, "the order of the idle items");
    }

    pub(crate) fn push_idle(&mut self, id: u64) {
        self.idle.push((id, Instant::now()));
    }

    pub(crate) fn forget_dropped(&mut self) {
        let manager = &self.manager;
        self.idle.retain(|(id, _)| manager.exists(*id));
    }

    /// Removes dropped items, and asserts that they were the coldest.
    pub(crate) fn forget_coldest(&mut self) {
        let exist: Vec<bool> = self.idle.iter().map(|(id, _)| self.manager.exists(*id)).collect();
        assert!(exist.is_sorted(), "a warmer item was dropped before a colder one: {exist:?}");
        self.forget_dropped();
    }
}

/// The handle that sets a limit.
#[derive(Clone, Copy)]
pub(crate) enum ResizeBy {
    Pool,
    Gate,
}

pub(crate) fn poll_once(checkout: &mut Checkout) -> Poll<Result<PooledItem<ModelManager>, CheckoutError>> {
    checkout.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
