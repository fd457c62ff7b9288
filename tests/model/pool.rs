//! One model of a pool for random runs. Every item counts itself while it is there, its drop included; every creation ends
//! when and as the run says. After each step the pool is held against an oracle that knows little but the promises:
//!
//! - items there and items being made are never more than the limit, or what they were when it was lowered;
//! - the idle ones are those that should be, in the order in which they came back, and the warmest is handed out;
//! - whoever waits is served in order, nobody passes, and nobody waits where an item is or could be made;
//! - what goes because of its age is of that age, and of those that go the coldest go first;
//! - every number of the status is that of the oracle, and nothing is lost in the end.

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

use hands::{End, Maker, Rejected};

pub(crate) use hands::Seen;

#[path = "pool_checks.rs"]
mod checks;
#[path = "pool_hands.rs"]
mod hands;

/// Takes one run.
pub(crate) fn drive(run: u64, seen: &mut Seen, tells: bool) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut random = Random(mixed(run)); // or each run would be the one before it, a step further
    runtime.block_on(async {
        let mut model = Model::new(&mut random, seen, tells).await;
        for _ in 0..20 + model.random.below(100) {
            model.step().await;
        }
        model.finish().await;
    });
}

type Checkout = Pin<Box<dyn Future<Output = Result<PooledItem<Maker>, CheckoutError<Rejected>>>>>;

struct Model<'r> {
    random: &'r mut Random,
    seen: &'r mut Seen,
    tells: bool,
    maker: Maker,
    gate: Gate,
    pool: Pool<Maker>,
    /// For the drops of items, as long as the run lasts.
    handle: Arc<Mutex<Option<Pool<Maker>>>>,
    shape: Shape,
    /// From the coldest to the warmest: item, and since when it is idle.
    idle: Vec<(u64, Instant)>,
    leases: Vec<PooledItem<Maker>>,
    /// In the order in which they came.
    waiting: Vec<Checkout>,
    detached: u64,
    closed: bool,
}

/// What a pool is built with.
struct Shape {
    limit: u32,
    /// Whether the limit stays.
    is_steady: bool,
    min_idle: usize,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
}

impl<'r> Model<'r> {
    async fn new(random: &'r mut Random, seen: &'r mut Seen, tells: bool) -> Self {
        let limit = 1 + random.below(4);
        let shape = Shape {
            limit,
            is_steady: random.below(3) == 0,
            min_idle: [0, 0, 1, 2, 6][random.below(5) as usize],
            idle_timeout: (random.below(2) == 0).then(|| ms(20)),
            max_lifetime: (random.below(3) == 0).then(|| ms(70)),
        };
        let maker = Maker::new(limit as usize);
        let gate = Gate::new(GateName::new("modelled"), Limit::new(limit));
        let mut builder = Pool::builder(maker.clone())
            .gate(gate.clone())
            .min_idle(shape.min_idle)
            .create_timeout(ms(50))
            .create_backoff(ms(4), ms(16));
        if let Some(timeout) = shape.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(lifetime) = shape.max_lifetime {
            builder = builder.max_lifetime(lifetime);
        }
        let mut building = Box::pin(builder.build());
        let pool = loop {
            if let Poll::Ready(built) = building.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break built.unwrap();
            }
            yield_now().await;
            maker.end(0, End::Made);
        };
        let mut model = Self {
            random,
            seen,
            tells,
            maker,
            gate,
            handle: Arc::new(Mutex::new(Some(pool.clone()))),
            pool,
            shape,
            idle: Vec::new(),
            leases: Vec::new(),
            waiting: Vec::new(),
            detached: 0,
            closed: false,
        };
        model.idle = model.found_idle().into_iter().map(|id| (id, Instant::now())).collect();
        model.check();
        model
    }

    async fn step(&mut self) {
        self.seen.steps += 1;
        self.find_new_idle(); // what time brought, where the last step did not end at rest
        let kind = self.random.below(22);
        if self.tells {
            eprintln!("step {kind}: idle {:?}, {:?}", self.idle, self.pool.status());
        }
        match kind {
            0..=4 => self.come(),
            5..=8 => self.give_back(),
            9..=12 => self.end_creation().await,
            13 => self.give_up(),
            14 => self.try_one(),
            15 => self.resize(true),
            16 => self.resize(false),
            17 => self.retain(),
            18..=19 => self.pass_time().await,
            20 => self.detach(),
            _ if self.random.below(12) == 0 => self.close(),
            _ => {}
        }
        if self.random.below(4) > 0 {
            self.settle().await;
            self.check_at_rest();
        }
        self.check();
    }

    /// Somebody comes and waits, or is served at once: then nobody else waits, and it is the warmest item.
    fn come(&mut self) {
        self.serve(); // whoever has been sent an item waits no more
        let pool = self.pool.clone();
        let patience = [None, None, Some(ms(3))][self.random.below(3) as usize];
        let mut checkout: Checkout = Box::pin(async move {
            match patience {
                Some(wait) => pool.request().max_wait(wait).checkout().await,
                None => pool.checkout().await,
            }
        });
        match poll(&mut checkout) {
            Poll::Ready(outcome) => {
                self.seen.note("served at once");
                if let Ok(lease) = outcome {
                    assert!(self.waiting.is_empty(), "it has passed {}", self.waiting.len());
                    self.take_warmest(&lease);
                    self.leases.push(lease);
                }
            }
            Poll::Pending => {
                self.seen.note("waited");
                self.waiting.push(checkout);
            }
        }
        self.serve();
    }

    fn try_one(&mut self) {
        self.serve();
        let Ok(lease) = self.pool.try_checkout() else { return };
        assert!(self.waiting.is_empty(), "it has passed {}", self.waiting.len());
        self.take_warmest(&lease);
        self.leases.push(lease);
        self.seen.note("tried");
    }

    fn take_warmest(&mut self, lease: &PooledItem<Maker>) {
        self.forget_gone();
        let warmest = self.idle.pop().expect("nothing was idle");
        assert_eq!(lease.id, warmest.0, "not the warmest");
    }

    /// Polls everybody who waits, in order: nobody is served before one who came earlier.
    fn serve(&mut self) {
        let mut unserved = false;
        for mut checkout in std::mem::take(&mut self.waiting) {
            match poll(&mut checkout) {
                Poll::Pending => {
                    unserved = true;
                    self.waiting.push(checkout);
                }
                Poll::Ready(Ok(lease)) => {
                    assert!(!unserved, "item {} has passed somebody", lease.id);
                    self.idle.retain(|(id, _)| *id != lease.id); // where it was idle in between
                    self.leases.push(lease);
                    self.seen.note("served after a wait");
                }
                Poll::Ready(Err(error)) => self.seen.refusal(&error),
            }
        }
    }

    fn give_back(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let mut lease = self.leases.swap_remove(self.random.index(self.leases.len()));
        let id = lease.id;
        let stays = match self.random.below(8) {
            0 => {
                lease.mark_broken();
                false
            }
            1 => {
                lease.begin();
                false
            }
            2 => {
                lease.recycled_by_panic = true;
                false
            }
            _ => true,
        };
        if self.random.below(3) == 0 {
            self.reenter(&mut lease);
        }
        drop(lease);
        let is_there = self.maker.has(id);
        assert!(stays || !is_there, "item {id} is still there");
        if is_there {
            self.note_idle(id);
            self.seen.note("kept");
        }
        self.serve();
    }

    /// Its drop, whenever that is, comes back to the pool: it still counts, and there is room for no more than there is
    /// then. Somebody comes, and goes.
    fn reenter(&self, lease: &mut PooledItem<Maker>) {
        let (pool, maker) = (self.handle.clone(), self.maker.clone());
        lease.on_drop = Some(Box::new(move || {
            let Some(pool) = pool.lock().unwrap().clone() else { return };
            let status = pool.status();
            maker.counts(status.size);
            if status.idle > 0 {
                return; // it would make one of them the warmest
            }
            let mut checkout = Box::pin(async { pool.checkout().await.is_ok() });
            let _ = checkout.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            maker.counts(pool.status().size);
        }));
    }

    fn detach(&mut self) {
        let Some(lease) = self.leases.pop() else { return };
        let id = lease.id;
        let mut item = lease.detach();
        item.on_drop = None; // which speaks for items of the pool
        self.detached += 1;
        drop(item);
        assert!(!self.maker.has(id));
        self.serve();
    }

    fn give_up(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.random.index(self.waiting.len());
        drop(self.waiting.remove(at)); // what was on its way is idle, or another's
        self.seen.note("given up");
        self.serve();
        self.find_new_idle();
    }

    async fn end_creation(&mut self) {
        let under_way = self.maker.under_way();
        if under_way == 0 {
            return;
        }
        let end = [End::Made, End::Made, End::Made, End::Made, End::Failed, End::Panicked];
        let end = end[self.random.index(end.len())];
        self.maker.end(self.random.index(under_way), end);
        if self.random.below(3) == 0 && !self.waiting.is_empty() {
            yield_now().await; // so that it is on its way, and nobody has been told
            yield_now().await;
            let before = self.pool.status().in_use;
            if before > self.leases.len() {
                self.seen.note("given up with an item on its way");
            }
            self.give_up();
        }
    }

    fn resize(&mut self, by_pool: bool) {
        if self.shape.is_steady {
            return;
        }
        let limit = 1 + self.random.below(5);
        self.maker.limit_falls_to(limit as usize);
        if by_pool {
            self.pool.resize(Limit::new(limit));
            self.maker.limit_is(limit as usize);
            self.forget_coldest();
        } else {
            self.gate.resize(Limit::new(limit));
            self.maker.limit_is(limit as usize);
        }
        self.shape.limit = limit;
        self.seen.note("resized");
        self.serve();
    }

    fn retain(&mut self) {
        let found = self.found_idle();
        self.forget_gone();
        let expected: Vec<u64> = self.idle.iter().map(|(id, _)| *id).collect();
        assert_eq!(found, expected, "from the coldest to the warmest");
        let odd = u64::from(self.random.below(3));
        let dropped = self.pool.retain(|item, _| item.id % 3 != odd);
        assert_eq!(dropped, found.iter().filter(|id| **id % 3 == odd).count());
        self.forget_gone();
        self.serve();
    }

    async fn pass_time(&mut self) {
        advance(ms(1 + u64::from(self.random.below(30)))).await;
    }

    fn close(&mut self) {
        self.pool.close();
        self.closed = true;
        self.forget_gone();
        assert!(self.idle.is_empty());
        self.seen.note("closed");
        self.serve();
        assert!(self.waiting.is_empty(), "somebody still waits");
    }

    async fn settle(&mut self) {
        for _ in 0..12 {
            yield_now().await;
            self.serve();
        }
        self.find_new_idle();
    }

    /// The idle ones as the pool has them, from the coldest to the warmest.
    fn found_idle(&self) -> Vec<u64> {
        let mut found = Vec::new();
        self.pool.retain(|item, _| {
            found.push(item.id);
            true
        });
        found
    }

    /// What was made and not waited for, or given back by one who gave up, has become idle, as the warmest.
    fn find_new_idle(&mut self) {
        if self.shape.max_lifetime.is_none() {
            self.forget_coldest(); // idle for too long, or too many
        }
        self.forget_gone();
        for id in self.found_idle() {
            if !self.idle.iter().any(|(known, _)| *known == id) {
                self.note_idle(id);
            }
        }
        self.forget_gone(); // to look for them can show that one is too many
        let known: Vec<u64> = self.idle.iter().map(|(id, _)| *id).collect();
        let mut found = self.found_idle();
        if known.len() != found.len() {
            let is_leased = |id: &u64| self.leases.iter().any(|lease| lease.id == *id);
            panic!(
                "idle are {found:?}, not {known:?}; leased: {:?}",
                known.iter().map(is_leased).collect::<Vec<_>>()
            );
        }
        found.retain(|id| known.contains(id));
        assert_eq!(found, known, "the order of the idle ones");
    }

    fn note_idle(&mut self, id: u64) {
        self.idle.push((id, Instant::now()));
    }

    fn forget_gone(&mut self) {
        let maker = &self.maker;
        self.idle.retain(|(id, _)| maker.has(*id));
    }

    /// Of those that have gone for want of room none was warmer than one that stays.
    fn forget_coldest(&mut self) {
        let stays: Vec<bool> = self.idle.iter().map(|(id, _)| self.maker.has(*id)).collect();
        assert!(stays.is_sorted(), "not the coldest went: {stays:?}");
        self.forget_gone();
    }
}

fn poll(checkout: &mut Checkout) -> Poll<Result<PooledItem<Maker>, CheckoutError<Rejected>>> {
    checkout.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Numbers that follow from the first (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        u32::try_from(mixed(self.0) % u64::from(end)).unwrap()
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap()) as usize
    }
}

const fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
