//! The model: random steps on a pool, and an oracle that knows little but the promises.
//!
//! Every item counts itself until its drop ends, and every creation ends when and as the run decides. After each step the
//! following is checked:
//!
//! - Items and creations together never exceed the limit, or their number when the limit was lowered.
//! - The idle items are the expected ones, in the order in which they came back, and the warmest is handed out.
//! - Waiters are served in order, none is overtaken, and none waits while an item exists or could be created for it.
//! - Items are evicted and expire only at their age, and the coldest are dropped first.
//! - Every number of the status matches the oracle, and nothing is lost in the end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::pool::{CheckoutError, Pool, PooledItem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::manager::{Coverage, CreationEnd, ModelManager};

/// Takes the run with this number.
pub(crate) fn take_run(run: u64, coverage: &mut Coverage, prints_steps: bool) {
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
    random: &'r mut Random,
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
    pub(crate) waiting: Vec<Checkout>,
    pub(crate) detached: u64,
    pub(crate) closed: bool,
}

/// The settings of the pool of a run.
pub(crate) struct Settings {
    pub(crate) limit: u32,
    /// Whether the run never changes the limit.
    has_fixed_limit: bool,
    pub(crate) min_idle: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
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
        };
        let manager = ModelManager::new(limit as usize);
        let gate = Gate::new(GateName::new("modelled"), Limit::new(limit));
        let mut builder = Pool::builder(manager.clone())
            .gate(gate.clone())
            .min_idle(settings.min_idle)
            .create_timeout(ms(50))
            .create_backoff(ms(4), ms(16));
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
            detached: 0,
            closed: false,
        };
        model.idle = model.actual_idle().into_iter().map(|id| (id, Instant::now())).collect();
        model.check_always();
        model
    }

    async fn step(&mut self) {
        self.coverage.steps += 1;
        self.update_idle(); // the last step may have left tasks running that made items idle
        let kind = self.random.below(22);
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
            _ if self.random.below(12) == 0 => self.close(),
            _ => {}
        }
        if self.random.below(4) > 0 {
            self.settle().await;
            self.check_at_rest();
        }
        self.check_always();
    }

    /// Starts a checkout. If it is served at once, no other checkout may be waiting, and it gets the warmest item.
    fn check_out(&mut self) {
        self.serve_waiting(); // a checkout whose item has been delivered no longer waits
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
                if let Ok(item) = outcome {
                    self.take_warmest(item);
                }
            }
            Poll::Pending => {
                self.coverage.note("waited");
                self.waiting.push(checkout);
            }
        }
        self.serve_waiting();
    }

    fn try_checkout(&mut self) {
        self.serve_waiting();
        let Ok(item) = self.pool.try_checkout() else { return };
        self.take_warmest(item);
        self.coverage.note("served by try_checkout");
    }

    fn take_warmest(&mut self, item: PooledItem<ModelManager>) {
        assert!(self.waiting.is_empty(), "the checkout has overtaken {} others", self.waiting.len());
        self.forget_dropped();
        let (warmest, _) = self.idle.pop().expect("the item was not idle");
        assert_eq!(item.id, warmest, "not the warmest item");
        self.in_use.push(item);
    }

    /// Polls the waiting checkouts in order. None is served before an earlier one.
    fn serve_waiting(&mut self) {
        let mut one_is_pending = false;
        for mut checkout in std::mem::take(&mut self.waiting) {
            match poll_once(&mut checkout) {
                Poll::Pending => {
                    one_is_pending = true;
                    self.waiting.push(checkout);
                }
                Poll::Ready(Ok(item)) => {
                    assert!(!one_is_pending, "item {} has overtaken an earlier checkout", item.id);
                    self.idle.retain(|(id, _)| *id != item.id); // the item may have been idle in between
                    self.in_use.push(item);
                    self.coverage.note("served after a wait");
                }
                Poll::Ready(Err(error)) => self.coverage.note_error(&error),
            }
        }
    }

    /// Returns a random item, fit or unfit.
    fn return_item(&mut self) {
        if self.in_use.is_empty() {
            return;
        }
        let mut item = self.in_use.swap_remove(self.random.index(self.in_use.len()));
        let id = item.id;
        let is_fit = match self.random.below(8) {
            0 => {
                item.mark_broken();
                false
            }
            1 => {
                item.begin();
                false
            }
            2 => {
                item.recycle_panics = true;
                false
            }
            _ => true,
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
    fn call_pool_on_drop(&self, item: &mut PooledItem<ModelManager>) {
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

    fn detach_item(&mut self) {
        let Some(item) = self.in_use.pop() else { return };
        let id = item.id;
        let mut detached = item.detach();
        detached.on_drop = None; // its checks hold for items of the pool only
        self.detached += 1;
        drop(detached);
        assert!(!self.manager.exists(id));
        self.serve_waiting();
    }

    fn cancel_checkout(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.random.index(self.waiting.len());
        drop(self.waiting.remove(at)); // an item that was being delivered is idle now, or goes to the next waiter
        self.coverage.note("cancelled");
        self.serve_waiting();
        self.update_idle();
    }

    async fn end_creation(&mut self) {
        let running = self.manager.running_creations();
        if running == 0 {
            return;
        }
        let end = match self.random.index(6) {
            0..=3 => CreationEnd::Created,
            4 => CreationEnd::Failed,
            _ => CreationEnd::Panicked,
        };
        self.manager.end_creation(self.random.index(running), end);
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

    fn resize(&mut self, by: ResizeBy) {
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

    fn retain(&mut self) {
        let actual = self.actual_idle();
        self.forget_dropped();
        assert_eq!(actual, self.idle_ids(), "not the idle items from the coldest to the warmest");
        let remainder = u64::from(self.random.below(3));
        let discarded = self.pool.retain(|item, _| item.id % 3 != remainder);
        assert_eq!(discarded, actual.iter().filter(|id| **id % 3 == remainder).count());
        self.forget_dropped();
        self.serve_waiting();
    }

    fn close(&mut self) {
        self.pool.close();
        self.closed = true;
        self.forget_dropped();
        assert!(self.idle.is_empty());
        self.coverage.note("closed");
        self.serve_waiting();
        assert!(self.waiting.is_empty(), "a checkout still waits");
    }

    async fn settle(&mut self) {
        for _ in 0..12 {
            yield_now().await;
            self.serve_waiting();
        }
        self.update_idle();
    }

    /// Returns the pool's idle items, from the coldest to the warmest.
    fn actual_idle(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        self.pool.retain(|item, _| {
            ids.push(item.id);
            true
        });
        ids
    }

    fn idle_ids(&self) -> Vec<u64> {
        self.idle.iter().map(|(id, _)| *id).collect()
    }

    /// Removes dropped items from the expected idle items, and adds those that became idle since: created without a waiter, or
    /// passed on by a cancelled checkout. Then compares the expected items with the actual ones.
    fn update_idle(&mut self) {
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

    fn push_idle(&mut self, id: u64) {
        self.idle.push((id, Instant::now()));
    }

    fn forget_dropped(&mut self) {
        let manager = &self.manager;
        self.idle.retain(|(id, _)| manager.exists(*id));
    }

    /// Removes dropped items, and asserts that they were the coldest.
    fn forget_coldest(&mut self) {
        let exist: Vec<bool> = self.idle.iter().map(|(id, _)| self.manager.exists(*id)).collect();
        assert!(exist.is_sorted(), "a warmer item was dropped before a colder one: {exist:?}");
        self.forget_dropped();
    }
}

/// The handle that sets a limit.
#[derive(Clone, Copy)]
enum ResizeBy {
    Pool,
    Gate,
}

pub(crate) fn poll_once(checkout: &mut Checkout) -> Poll<Result<PooledItem<ModelManager>, CheckoutError>> {
    checkout.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A pseudo-random generator (splitmix64).
struct Random(u64);

impl Random {
    /// The seed is mixed, because otherwise the run would repeat the previous one, shifted by one number.
    const fn new(run: u64) -> Self {
        Self(mix(run))
    }

    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        u32::try_from(mix(self.0) % u64::from(end)).unwrap()
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap()) as usize
    }
}

const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
