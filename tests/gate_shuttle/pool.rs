//! A pool, whose items are made, used, judged, evicted and dropped by several threads at once, while its limit moves.
//!
//! Creations and the keeper are tasks of the scheduler's. Time stands still, so nothing fails here: a pause would never end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};

use concurrency_governor::pool::{Manager, Pool, Verdict};
use concurrency_governor::{Gate, Limit};
use shuttle::future::block_on;
use shuttle::thread;

use super::scene::{below, check, gate};

/// However checkouts, discards, judgements, those who give up and a moving limit meet: never more items than are allowed,
/// nothing lost, and nobody forgotten.
#[test]
fn pool_in_a_storm() {
    check(|| {
        let stage = Stage::new(gate(2), 1);
        let users = [0, 2].map(|odds| {
            stage.spawn(move |stage| {
                for _ in 0..2 {
                    stage.use_one(odds);
                }
            })
        });
        let fickle = stage.spawn(|stage| {
            for _ in 0..2 {
                stage.use_or_give_up(below(4));
            }
        });
        let moving = stage.spawn(|stage| {
            for _ in 0..2 {
                stage.resize(1 + below(3));
                stage.pool.retain(|_, _| below(2) == 0);
            }
        });
        for thread in users.into_iter().chain([fickle, moving]) {
            thread.join().unwrap();
        }
        stage.finish();
    });
}

/// One item for all, of whom some give up at every stage, and which often has to go: everybody else gets it.
#[test]
fn pool_of_one_in_a_crowd() {
    check(|| {
        let stage = Stage::new(gate(1), 0);
        let users = [1, 3].map(|odds| {
            stage.spawn(move |stage| {
                for _ in 0..2 {
                    stage.use_one(odds);
                }
            })
        });
        let fickle = [(), ()].map(|()| {
            stage.spawn(|stage| {
                for _ in 0..2 {
                    stage.use_or_give_up(below(5));
                }
            })
        });
        for thread in users.into_iter().chain(fickle) {
            thread.join().unwrap();
        }
        assert!(stage.counts.used.load(SeqCst) >= 4);
        stage.finish();
    });
}

/// A pool that is closed while it is used, grows and is judged comes to its end with nothing left, and says so.
#[test]
fn pool_closed_in_use() {
    check(|| {
        let stage = Stage::new(gate(2), 1);
        let users = [0, 2].map(|odds| {
            stage.spawn(move |stage| {
                while let Ok(lease) = block_on(stage.pool.checkout()) {
                    thread::yield_now();
                    if odds > 0 && below(odds) == 0 {
                        lease.discard();
                    }
                }
            })
        });
        let fickle = stage.spawn(|stage| stage.use_or_give_up(below(4)));
        let draining = stage.spawn(|stage| {
            thread::yield_now();
            stage.pool.close();
            block_on(stage.pool.drained());
            assert_eq!(stage.counts.live.load(SeqCst), 0, "drained, and something is there");
        });
        for thread in users.into_iter().chain([fickle, draining]) {
            thread.join().unwrap();
        }
        let status = stage.pool.status();
        assert_eq!((status.size, status.waiting, stage.gate.status().in_use), (0, 0, 0), "{status:?}");
        stage.finish();
    });
}

/// A limit that others set at the gate is heeded by the keeper, whatever happens meanwhile, and the minimum is filled again.
#[test]
fn pool_whose_gate_is_resized() {
    check(|| {
        let stage = Stage::new(gate(2), 2);
        let user = stage.spawn(|stage| {
            for _ in 0..2 {
                stage.use_one(2);
            }
        });
        let moving = stage.spawn(|stage| {
            stage.allow(3);
            stage.gate.resize(Limit::new(3));
            stage.gate.resize(Limit::new(1));
        });
        user.join().unwrap();
        moving.join().unwrap();
        while stage.pool.status().idle != 1 || stage.pool.status().size != 1 {
            thread::yield_now();
        }
        stage.finish();
    });
}

/// The last handle and the last lease go at once: nothing is left.
#[test]
fn pool_dropped_in_use() {
    check(|| {
        let stage = Stage::new(gate(2), 1);
        let lease = block_on(stage.pool.checkout()).unwrap();
        let holder = thread::spawn(move || drop(lease));
        let giving_up = stage.spawn(|stage| stage.use_or_give_up(below(3)));
        let (counts, gate) = (Arc::clone(&stage.counts), stage.gate.clone());
        drop(stage);
        giving_up.join().unwrap();
        holder.join().unwrap();
        counts.wait_for_the_end();
        assert_eq!(gate.status().in_use, 0, "a permit is lost");
    });
}

/// A pool, and what is there of it at each instant, apart from what the pool says.
#[derive(Clone)]
struct Stage {
    pool: Pool<Counting>,
    gate: Gate,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Items there or being made.
    live: AtomicUsize,
    allowed: AtomicUsize,
    used: AtomicUsize,
    /// Whether the manager is gone, and so everything that belongs to the pool.
    over: AtomicBool,
}

impl Counts {
    /// The keeper and creations end in their own time.
    fn wait_for_the_end(&self) {
        while !self.over.load(SeqCst) {
            thread::yield_now();
        }
        assert_eq!(self.live.load(SeqCst), 0, "the pool is gone, and something of it is there");
    }
}

impl Stage {
    fn new(gate: Gate, min_idle: usize) -> Self {
        let counts = Arc::<Counts>::default();
        counts.allowed.store(gate.limit().get() as usize, SeqCst);
        let builder = Pool::builder(Counting(Arc::clone(&counts))).gate(gate.clone()).min_idle(min_idle);
        let pool = block_on(builder.build()).unwrap();
        Self { pool, gate, counts }
    }

    fn spawn(&self, step: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let stage = self.clone();
        thread::spawn(move || step(&stage))
    }

    /// Waits for an item, uses it, and gives it back fit or, one time in so many, unfit.
    fn use_one(&self, odds: u32) {
        let mut lease = block_on(self.pool.checkout()).unwrap();
        self.counts.used.fetch_add(1, SeqCst);
        thread::yield_now();
        if odds > 0 && below(odds) == 0 {
            lease.begin();
        }
    }

    /// Polls as often as this and gives up.
    fn use_or_give_up(&self, polls: u32) {
        let mut checkout = pin!(self.pool.checkout());
        for _ in 0..polls {
            if checkout.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return;
            }
            thread::yield_now();
        }
    }

    fn allow(&self, limit: u32) {
        self.counts.allowed.fetch_max(limit as usize, SeqCst);
    }

    /// By one thread at a time. What may be there rises before the limit does, and falls once it is so.
    fn resize(&self, limit: u32) {
        self.allow(limit);
        self.pool.resize(Limit::new(limit));
        if self.pool.status().size <= limit as usize {
            self.counts.allowed.store(limit as usize, SeqCst);
        }
    }

    /// In the end nobody waits, every permit is back, and what is left is idle and fits. An item that was made for somebody
    /// who has given up is in use until whoever made it finds that out; one that is so for ever has the scheduler give up.
    fn finish(self) {
        let status = loop {
            let status = self.pool.status();
            if status.creating + status.dropping + status.in_use == 0 {
                break status;
            }
            thread::yield_now();
        };
        assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
        assert_eq!(self.gate.status().in_use, 0, "a permit is lost: {status:?}");
        assert_eq!(status.idle, self.counts.live.load(SeqCst), "{status:?}");
        assert!(status.idle <= status.limit.get() as usize, "{status:?}");
        let left = status.totals.evicted + status.totals.discarded.sum();
        assert_eq!(status.totals.created, status.idle as u64 + left, "{status:?}");
        let counts = Arc::clone(&self.counts);
        drop(self);
        assert_eq!(counts.live.load(SeqCst), 0, "the last handle has left something");
        counts.wait_for_the_end();
    }
}

struct Counting(Arc<Counts>);

impl Manager for Counting {
    type Item = Counted;
    type Error = Infallible;

    async fn create(&self) -> Result<Counted, Infallible> {
        let made = Counted::new(&self.0);
        shuttle::future::yield_now().await;
        Ok(made)
    }

    fn recycle(&self, _: &mut Counted) -> Verdict {
        thread::yield_now();
        Verdict::Keep
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}

/// An item that counts from when it begins to be made until its drop is over, which takes a while.
struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: &Arc<Counts>) -> Self {
        let live = counts.live.fetch_add(1, SeqCst) + 1;
        let allowed = counts.allowed.load(SeqCst);
        if live > allowed {
            // The pool would catch a panic.
            eprintln!("{live} are there, where {allowed} may be");
            std::process::abort();
        }
        Self(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        thread::yield_now();
        self.0.live.fetch_sub(1, SeqCst);
    }
}
