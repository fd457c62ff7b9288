//! A manager that does what it is told, whose items count themselves.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::pool::{Manager, Pool, PoolBuilder, PoolStatus, Verdict};
use tokio::task::yield_now;
use tokio::time::sleep;

/// What becomes of an attempt to make an item.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Make,
    Fail,
    Hang,
    Panic,
    Take(Duration),
}

/// What `recycle` or `health` says of an item.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Says {
    #[default]
    Keep,
    Discard,
    Hang,
    Panic,
}

/// A manager; clones share what they are told and what they count.
#[derive(Clone, Default)]
pub(crate) struct Maker(Arc<Script>);

#[derive(Default)]
struct Script {
    /// What is next; `Make` when there is nothing more.
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    attempts: AtomicUsize,
    made: AtomicUsize,
    /// Items that are there, and the most that were.
    live: AtomicUsize,
    most: AtomicUsize,
    /// In the order of their drops.
    dropped: Mutex<Vec<usize>>,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What becomes of the next attempts.
    pub(crate) fn next(&self, acts: impl IntoIterator<Item = Act>) {
        self.0.acts.lock().unwrap().extend(acts);
    }

    /// What was to be next is not.
    pub(crate) fn forget(&self) {
        self.0.acts.lock().unwrap().clear();
    }

    /// What becomes of all attempts from now on.
    pub(crate) fn always(&self, act: Act) {
        *self.0.always.lock().unwrap() = Some(act);
    }

    pub(crate) fn attempts(&self) -> usize {
        self.0.attempts.load(SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.0.live.load(SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.0.most.load(SeqCst)
    }

    pub(crate) fn dropped(&self) -> Vec<usize> {
        self.0.dropped.lock().unwrap().clone()
    }

    pub(crate) fn pool(&self, max: u32) -> PoolBuilder<Self> {
        Pool::builder(self.clone()).max(max)
    }

    fn make(&self) -> Item {
        let id = self.0.made.fetch_add(1, SeqCst);
        let live = self.0.live.fetch_add(1, SeqCst) + 1;
        self.0.most.fetch_max(live, SeqCst);
        Item {
            id,
            recycled: 0,
            recycle: Says::Keep,
            health: Says::Keep,
            on_drop: None,
            script: Arc::clone(&self.0),
        }
    }
}

impl Manager for Maker {
    type Item = Item;
    type Error = Rejected;

    async fn create(&self) -> Result<Item, Rejected> {
        self.0.attempts.fetch_add(1, SeqCst);
        let act = self.0.acts.lock().unwrap().pop_front();
        let act = act.or(*self.0.always.lock().unwrap()).unwrap_or(Act::Make);
        match act {
            Act::Make => {}
            Act::Fail => return Err(Rejected),
            Act::Hang => pending().await,
            Act::Panic => panic!("no item today"),
            Act::Take(time) => sleep(time).await,
        }
        Ok(self.make())
    }

    fn recycle(&self, item: &mut Item) -> Verdict {
        item.recycled += 1;
        match item.recycle {
            Says::Keep => Verdict::Keep,
            Says::Discard => Verdict::Discard,
            Says::Hang | Says::Panic => panic!("not this one"),
        }
    }

    async fn health(&self, item: &mut Item) -> Verdict {
        match item.health {
            Says::Keep => Verdict::Keep,
            Says::Discard => Verdict::Discard,
            Says::Hang => pending().await,
            Says::Panic => panic!("it is ill"),
        }
    }
}

/// An item that counts while it is there, its drop included.
pub(crate) struct Item {
    pub(crate) id: usize,
    pub(crate) recycled: usize,
    pub(crate) recycle: Says,
    pub(crate) health: Says,
    pub(crate) on_drop: Option<Box<dyn FnOnce() + Send>>,
    script: Arc<Script>,
}

impl Drop for Item {
    fn drop(&mut self) {
        let _gone = Gone(&self.script, self.id);
        if let Some(hook) = self.on_drop.take() {
            hook();
        }
    }
}

/// Counts the item out even if its hook panics.
struct Gone<'s>(&'s Script, usize);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.dropped.lock().unwrap().push(self.1);
        self.0.live.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Rejected {}

/// Lets every task go on until none has anything to do, without time passing.
pub(crate) async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Polls once, and nobody is told of anything.
pub(crate) fn peek<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The books balance, and the items say the same as the pool.
#[track_caller]
pub(crate) fn assert_balanced(pool: &Pool<Maker>, maker: &Maker) -> PoolStatus {
    let status = pool.status();
    assert_eq!(status.size, status.idle + status.in_use + status.creating + status.dropping, "{status:?}");
    let left = status.totals.evicted + status.totals.detached + status.totals.discarded.sum();
    assert_eq!(status.totals.created, (status.idle + status.in_use) as u64 + left, "{status:?}");
    assert_eq!(status.totals.created, status.creates.count(), "{status:?}");
    let there =
        status.idle + status.in_use + status.dropping + usize::try_from(status.totals.detached).unwrap();
    assert_eq!(maker.live(), there, "{status:?}");
    status
}

/// Nothing is in use, nobody waits, and every place can be had.
pub(crate) async fn assert_at_rest(pool: &Pool<Maker>, maker: &Maker) -> PoolStatus {
    settle().await;
    let status = assert_balanced(pool, maker);
    assert_eq!((status.in_use, status.creating, status.dropping, status.waiting), (0, 0, 0, 0), "{status:?}");
    assert_eq!(pool.gate().status().in_use, 0, "a permit is lost");
    status
}
