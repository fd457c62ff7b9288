//! Several threads that create, use, judge, evict and drop the items of a pool while its limit changes.
//!
//! Creations and the maintenance task are tasks of the scheduler. Time stands still, so a creation fails only for good: a backoff
//! delay would never end.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};

use concurrency_governor::pool::{FailureVerdict, Manager, Pool, PoolGroup, Verdict};
use concurrency_governor::{Gate, Limit};
use shuttle::future::block_on;
use shuttle::thread;

use super::scene::{below, check, gate};

/// In every order of checkouts, discards, `retain`, cancellations and limit changes, live items stay within the limit, every
/// checkout is served, and no item or permit is lost.
#[test]
fn pool_in_a_storm() {
    check(|| {
        let scene = PoolScene::new(gate(2), 1);
        let users = [0, 2].map(|odds| {
            scene.spawn(move |scene| {
                for _ in 0..2 {
                    scene.use_item(odds);
                }
            })
        });
        let canceller = scene.spawn(|scene| {
            for _ in 0..2 {
                scene.use_or_cancel(below(4));
            }
        });
        let resizer = scene.spawn(|scene| {
            for _ in 0..2 {
                scene.resize(1 + below(3));
                scene.pool.retain(|_, _| below(2) == 0);
            }
        });
        for thread in users.into_iter().chain([canceller, resizer]) {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// A pool of one item serves every checkout that is not cancelled, although other checkouts are cancelled at every stage and the
/// item is often discarded.
#[test]
fn pool_of_one_under_contention() {
    check(|| {
        let scene = PoolScene::new(gate(1), 0);
        let users = [1, 3].map(|odds| {
            scene.spawn(move |scene| {
                for _ in 0..2 {
                    scene.use_item(odds);
                }
            })
        });
        let cancellers = [(), ()].map(|()| {
            scene.spawn(|scene| {
                for _ in 0..2 {
                    scene.use_or_cancel(below(5));
                }
            })
        });
        for thread in users.into_iter().chain(cancellers) {
            thread.join().unwrap();
        }
        assert!(scene.counts.used.load(SeqCst) >= 4);
        scene.finish();
    });
}

/// A pool that is closed while items are used and created ends with nothing left, and `drained` returns only then.
#[test]
fn pool_closed_in_use() {
    check(|| {
        let scene = PoolScene::new(gate(2), 1);
        let users = [0, 2].map(|odds| {
            scene.spawn(move |scene| {
                while let Ok(item) = block_on(scene.pool.checkout()) {
                    thread::yield_now();
                    if odds > 0 && below(odds) == 0 {
                        item.discard();
                    }
                }
            })
        });
        let canceller = scene.spawn(|scene| scene.use_or_cancel(below(4)));
        let closer = scene.spawn(|scene| {
            thread::yield_now();
            scene.pool.close();
            block_on(scene.pool.drained());
            assert_eq!(scene.counts.live.load(SeqCst), 0, "`drained` returned before the last drop");
        });
        for thread in users.into_iter().chain([canceller, closer]) {
            thread.join().unwrap();
        }
        let status = scene.pool.status();
        assert_eq!((status.size, status.waiting, scene.gate.status().in_use), (0, 0, 0), "{status:?}");
        scene.finish();
    });
}

/// The maintenance task follows limits that are set at the gate, and the minimum is refilled, although items are in use.
#[test]
fn pool_whose_gate_is_resized() {
    check(|| {
        let scene = PoolScene::new(gate(2), 2);
        let user = scene.spawn(|scene| {
            for _ in 0..2 {
                scene.use_item(2);
            }
        });
        let resizer = scene.spawn(|scene| {
            scene.allow(3);
            scene.gate.resize(Limit::new(3));
            scene.gate.resize(Limit::new(1));
        });
        user.join().unwrap();
        resizer.join().unwrap();
        while scene.pool.status().idle != 1 || scene.pool.status().size != 1 {
            thread::yield_now();
        }
        scene.finish();
    });
}

/// When the last handle and the last pooled item are dropped at the same time, nothing is left.
#[test]
fn pool_dropped_in_use() {
    check(|| {
        let scene = PoolScene::new(gate(2), 1);
        let item = block_on(scene.pool.checkout()).unwrap();
        let holder = thread::spawn(move || drop(item));
        let canceller = scene.spawn(|scene| scene.use_or_cancel(below(3)));
        let (counts, gate) = (Arc::clone(&scene.counts), scene.gate.clone());
        drop(scene);
        canceller.join().unwrap();
        holder.join().unwrap();
        counts.wait_until_gone();
        assert_eq!(gate.status().in_use, 0, "a permit was lost");
    });
}

/// An item comes back while the checkout that it would serve is dropped, and while another thread drops a second waiter. The item is
/// idle as soon as both have returned: the thread that returns last makes it idle.
#[test]
fn pool_with_a_return_racing_a_cancellation() {
    check(|| {
        let scene = PoolScene::with_creations(gate(3), 0, 1);
        let item = block_on(scene.pool.checkout()).unwrap();
        // Both are admitted and wait for items whose creations never end.
        let mut waiting = [(); 2].map(|()| {
            let pool = scene.pool.clone();
            Box::pin(async move { pool.checkout().await.is_ok() })
        });
        for checkout in &mut waiting {
            assert!(checkout.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let returning = thread::spawn(move || drop(item));
        let cancelling = waiting.map(|checkout| thread::spawn(move || drop(checkout)));
        returning.join().unwrap();
        for thread in cancelling {
            thread.join().unwrap();
        }
        let status = scene.pool.status();
        assert_eq!((status.idle, status.in_use, status.waiting), (1, 0, 0), "{status:?}");
        assert_eq!(scene.gate.status().in_use, 0, "a permit was lost");
        assert_eq!(scene.counts.used.load(SeqCst), 0);
        scene.counts.finish_creations();
        scene.finish();
    });
}

/// Whichever of several threads closes the pool, none returns from `close` before the idle items have been dropped, and creations
/// that never end do not keep the pool from being drained.
#[test]
fn pool_closed_by_several_threads() {
    check(|| {
        let scene = PoolScene::with_creations(gate(3), 2, 2);
        let items = [(), ()].map(|()| block_on(scene.pool.checkout()).unwrap());
        scene.use_or_cancel(1); // starts a creation that does not end
        drop(items);
        let closers = [(), ()].map(|()| {
            scene.spawn(|scene| {
                scene.pool.close();
                assert_eq!(scene.counts.existing.load(SeqCst), 0, "`close` returned before the drops");
            })
        });
        let gate = scene.gate.clone();
        let gate_closer = thread::spawn(move || gate.close());
        for thread in closers.into_iter().chain([gate_closer]) {
            thread.join().unwrap();
        }
        block_on(scene.pool.drained());
        assert_eq!(scene.counts.live.load(SeqCst), 0, "a creation goes on in a closed pool");
        scene.finish();
    });
}

/// In every order in which the pools of a group need the items that the other holds idle, their items together stay within the limit,
/// every checkout is served, and no slot is lost.
#[test]
fn pools_of_a_group() {
    check(|| {
        let group = PoolGroup::new(gate(2));
        let counts = Counts::allowing(2, usize::MAX);
        let pools = [(); 2].map(|()| {
            let builder = Pool::builder(CountingManager(Arc::clone(&counts))).group(&group);
            block_on(builder.build()).unwrap()
        });
        let users = [(0, 0), (1, 0), (0, 3), (1, 2)].map(|(at, odds)| {
            let pool = pools[at].clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut item = block_on(pool.checkout()).unwrap();
                    thread::yield_now();
                    if odds > 0 && below(odds) == 0 {
                        item.begin();
                    }
                }
            })
        });
        for thread in users {
            thread.join().unwrap();
        }
        // Creations that no checkout waits for may still be running, and an item may be on its way back or make room for a
        // checkout that was served meanwhile. If the counts never agree, the scheduler fails the test.
        loop {
            let statuses = [pools[0].status(), pools[1].status()];
            let idle: usize = statuses.iter().map(|status| status.idle).sum();
            let sizes: usize = statuses.iter().map(|status| status.size).sum();
            if [sizes, group.items(), counts.live.load(SeqCst), counts.existing.load(SeqCst)] == [idle; 4] {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(group.gate().status().in_use, 0, "a permit was lost");
        drop(pools);
        while Arc::strong_count(&counts) > 1 {
            thread::yield_now(); // a creation or a maintenance task may still be running
        }
        assert_eq!((group.items(), counts.live.load(SeqCst)), (0, 0), "an item outlived the pools");
    });
}

/// In every order, a failure that is permanent ends the waits at the gate, although a checkout that is not polled keeps its permit.
#[test]
fn pool_whose_creation_fails() {
    check(|| {
        let counts = Counts::allowing(0, 0);
        let manager = FailingManager(Arc::clone(&counts));
        let pool = block_on(Pool::builder(manager).gate(gate(1)).build()).unwrap();
        let mut holder = Box::pin(pool.checkout());
        let waiting = [(); 2].map(|()| {
            let pool = pool.clone();
            thread::spawn(move || block_on(pool.checkout()).is_err())
        });
        // It mostly gets the permit, and keeps it: it is not polled after its wait has ended.
        for _ in 0..1 + below(3) {
            if holder.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            thread::yield_now();
        }
        for thread in waiting {
            assert!(thread.join().unwrap(), "nothing can be created");
        }
        drop(holder);
        drop(pool);
        counts.wait_until_gone();
    });
}

/// Its first failure is permanent.
struct FailingManager(Arc<Counts>);

impl Drop for FailingManager {
    fn drop(&mut self) {
        self.0.is_gone.store(true, SeqCst);
    }
}

impl Manager for FailingManager {
    type Item = ();
    type Error = fmt::Error;

    async fn create(&self) -> Result<(), fmt::Error> {
        shuttle::future::yield_now().await;
        Err(fmt::Error)
    }

    fn judge_failure(&self, _: &fmt::Error) -> FailureVerdict {
        FailureVerdict::GiveUp
    }
}

/// A pool, and counts of its items that do not depend on the pool.
#[derive(Clone)]
struct PoolScene {
    pool: Pool<CountingManager>,
    gate: Gate,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Items that exist or are being created.
    live: AtomicUsize,
    /// The most live items that are allowed at present.
    allowed: AtomicUsize,
    used: AtomicUsize,
    /// Items that exist.
    existing: AtomicUsize,
    /// How many more creations complete. Further ones wait.
    completing: AtomicUsize,
    /// Whether the manager has been dropped, and with it everything that belongs to the pool.
    is_gone: AtomicBool,
}

impl Counts {
    fn allowing(items: usize, completing: usize) -> Arc<Self> {
        let counts = Self { allowed: items.into(), completing: completing.into(), ..Self::default() };
        Arc::new(counts)
    }

    /// Lets all creations complete.
    fn finish_creations(&self) {
        self.completing.store(usize::MAX, SeqCst);
    }

    /// Waits for the maintenance task and the creations to end.
    fn wait_until_gone(&self) {
        while !self.is_gone.load(SeqCst) {
            thread::yield_now();
        }
        assert_eq!(self.live.load(SeqCst), 0, "an item outlived the pool");
    }
}

impl PoolScene {
    fn new(gate: Gate, min_idle: usize) -> Self {
        Self::with_creations(gate, min_idle, usize::MAX)
    }

    /// Only this many creations complete, until [`Counts::finish_creations`].
    fn with_creations(gate: Gate, min_idle: usize, completing: usize) -> Self {
        let counts = Counts::allowing(gate.limit().get() as usize, completing);
        let manager = CountingManager(Arc::clone(&counts));
        let builder = Pool::builder(manager).gate(gate.clone()).min_idle(min_idle);
        let pool = block_on(builder.build()).unwrap();
        Self { pool, gate, counts }
    }

    fn spawn(&self, step: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || step(&scene))
    }

    /// Waits for an item, uses it, and returns it. One time in `odds` it returns the item unfit, and never if `odds` is 0.
    fn use_item(&self, odds: u32) {
        let mut item = block_on(self.pool.checkout()).unwrap();
        self.counts.used.fetch_add(1, SeqCst);
        thread::yield_now();
        if odds > 0 && below(odds) == 0 {
            item.begin();
        }
    }

    /// Polls a checkout at most this often, then cancels it.
    fn use_or_cancel(&self, polls: u32) {
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

    /// Sets the limit. Only one thread at a time may call it. The allowed number of items rises before the limit does, and
    /// falls after the items have.
    fn resize(&self, limit: u32) {
        self.allow(limit);
        self.pool.resize(Limit::new(limit));
        if self.pool.status().size <= limit as usize {
            self.counts.allowed.store(limit as usize, SeqCst);
        }
    }

    /// Waits until the pool is at rest, and checks that no waiter and no permit is left and that the idle items are within the
    /// limit. An item that was delivered to a cancelled checkout counts as in use until its sender takes it back. If that never
    /// happens, the scheduler fails the test.
    fn finish(self) {
        let status = loop {
            let status = self.pool.status();
            if status.creating + status.dropping + status.in_use == 0 {
                break status;
            }
            thread::yield_now();
        };
        assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
        assert_eq!(self.gate.status().in_use, 0, "a permit was lost: {status:?}");
        assert_eq!(status.idle, self.counts.live.load(SeqCst), "{status:?}");
        assert!(status.idle <= status.limit, "{status:?}");
        let left = status.totals.evicted + status.totals.discarded.sum();
        assert_eq!(status.totals.created, status.idle as u64 + left, "{status:?}");
        let counts = Arc::clone(&self.counts);
        drop(self);
        assert_eq!(counts.live.load(SeqCst), 0, "an item outlived the last handle");
        counts.wait_until_gone();
    }
}

struct CountingManager(Arc<Counts>);

impl Manager for CountingManager {
    type Item = CountedItem;
    type Error = Infallible;

    async fn create(&self) -> Result<CountedItem, Infallible> {
        let mut item = CountedItem::new(&self.0);
        shuttle::future::yield_now().await;
        let take_turn = |left: usize| left.checked_sub(usize::from(left < usize::MAX));
        while self.0.completing.fetch_update(SeqCst, SeqCst, take_turn).is_err() {
            shuttle::future::yield_now().await;
        }
        self.0.existing.fetch_add(1, SeqCst);
        item.exists = true;
        Ok(item)
    }

    fn recycle(&self, _: &mut CountedItem) -> Verdict {
        thread::yield_now();
        Verdict::Keep
    }
}

impl Drop for CountingManager {
    fn drop(&mut self) {
        self.0.is_gone.store(true, SeqCst);
    }
}

/// An item that counts as live from the start of its creation to the end of its drop.
struct CountedItem {
    counts: Arc<Counts>,
    /// Whether its creation has completed.
    exists: bool,
}

impl CountedItem {
    fn new(counts: &Arc<Counts>) -> Self {
        let live = counts.live.fetch_add(1, SeqCst) + 1;
        let allowed = counts.allowed.load(SeqCst);
        if live > allowed {
            // The pool would catch a panic.
            eprintln!("{live} items exist or are being created, but only {allowed} are allowed");
            std::process::abort();
        }
        Self { counts: Arc::clone(counts), exists: false }
    }
}

impl Drop for CountedItem {
    fn drop(&mut self) {
        thread::yield_now();
        if self.exists {
            self.counts.existing.fetch_sub(1, SeqCst);
        }
        self.counts.live.fetch_sub(1, SeqCst);
    }
}
