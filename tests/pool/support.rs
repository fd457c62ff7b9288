//! A manager that follows a script, items that count themselves, and checks of a pool's consistency.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::pool::{FailureVerdict, Manager, Pool, PoolBuilder, PoolStatus, Verdict};
use tokio::task::yield_now;
use tokio::time::sleep;

/// The scripted outcome of an attempt to create an item.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Creation {
    Succeed,
    SucceedAfter(Duration),
    Fail,
    FailAfter(Duration),
    Hang,
    Panic,
    /// Hangs, and panics when it is dropped.
    PanicOnDrop,
}

/// The scripted outcome of `recycle` or `health` for an item.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Check {
    #[default]
    Keep,
    Discard,
    /// Rejects the item at its second poll. For `health` only.
    DiscardLater,
    Hang,
    Panic,
}

/// A manager that follows a script. Clones share the script and the counters.
#[derive(Clone, Default)]
pub(crate) struct ScriptedManager(Arc<Script>);

#[derive(Default)]
struct Script {
    /// Outcomes of the next attempts.
    next: Mutex<VecDeque<Creation>>,
    /// The outcome of every further attempt. `None` stands for success.
    default: Mutex<Option<Creation>>,
    /// Whether failures are permanent.
    gives_up: AtomicBool,
    /// Whether items are kept after a panic.
    keeps_after_panic: AtomicBool,
    attempts: AtomicUsize,
    /// Creations that are running.
    creating: AtomicUsize,
    created: AtomicUsize,
    /// Existing items, and the most that existed at once.
    live: AtomicUsize,
    peak: AtomicUsize,
    /// Identifiers in the order of the drops.
    dropped: Mutex<Vec<usize>>,
}

impl ScriptedManager {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends outcomes for the next attempts.
    pub(crate) fn script(&self, outcomes: impl IntoIterator<Item = Creation>) {
        self.0.next.lock().unwrap().extend(outcomes);
    }

    /// Removes the outcomes that no attempt has used.
    pub(crate) fn clear_script(&self) {
        self.0.next.lock().unwrap().clear();
    }

    /// Sets the outcome of every attempt after the script.
    pub(crate) fn always(&self, outcome: Creation) {
        *self.0.default.lock().unwrap() = Some(outcome);
    }

    /// Sets whether failures are permanent.
    pub(crate) fn give_up(&self, gives_up: bool) {
        self.0.gives_up.store(gives_up, SeqCst);
    }

    /// Keeps items that were in use during a panic.
    pub(crate) fn keep_after_panic(&self) {
        self.0.keeps_after_panic.store(true, SeqCst);
    }

    /// Creates an item without the pool.
    pub(crate) fn item(&self) -> Item {
        let id = self.0.created.fetch_add(1, SeqCst);
        let live = self.0.live.fetch_add(1, SeqCst) + 1;
        self.0.peak.fetch_max(live, SeqCst);
        Item {
            id,
            recycled: 0,
            recycle: Check::Keep,
            health: Check::Keep,
            on_drop: None,
            script: Arc::clone(&self.0),
        }
    }

    pub(crate) fn attempts(&self) -> usize {
        self.0.attempts.load(SeqCst)
    }

    pub(crate) fn creating(&self) -> usize {
        self.0.creating.load(SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.0.live.load(SeqCst)
    }

    pub(crate) fn peak(&self) -> usize {
        self.0.peak.load(SeqCst)
    }

    pub(crate) fn dropped(&self) -> Vec<usize> {
        self.0.dropped.lock().unwrap().clone()
    }

    /// Starts building a pool of this manager's items.
    pub(crate) fn pool(&self, max: u32) -> PoolBuilder<Self> {
        Pool::builder(self.clone()).max(max)
    }
}

impl Manager for ScriptedManager {
    type Item = Item;
    type Error = ScriptedError;

    async fn create(&self) -> Result<Item, ScriptedError> {
        self.0.attempts.fetch_add(1, SeqCst);
        self.0.creating.fetch_add(1, SeqCst);
        let mut running = RunningCreation { script: &self.0, panics: false };
        let next = self.0.next.lock().unwrap().pop_front();
        let outcome = next.or(*self.0.default.lock().unwrap()).unwrap_or(Creation::Succeed);
        match outcome {
            Creation::Succeed => {}
            Creation::SucceedAfter(time) => sleep(time).await,
            Creation::Fail => return Err(ScriptedError),
            Creation::FailAfter(time) => {
                sleep(time).await;
                return Err(ScriptedError);
            }
            Creation::Hang => pending().await,
            Creation::Panic => panic!("scripted panic"),
            Creation::PanicOnDrop => {
                running.panics = true;
                pending::<()>().await;
            }
        }
        Ok(self.item())
    }

    fn judge_failure(&self, _: &ScriptedError) -> FailureVerdict {
        if self.0.gives_up.load(SeqCst) { FailureVerdict::GiveUp } else { FailureVerdict::Retry }
    }

    fn after_panic(&self, _: &mut Item) -> Verdict {
        if self.0.keeps_after_panic.load(SeqCst) { Verdict::Keep } else { Verdict::Discard }
    }

    fn recycle(&self, item: &mut Item) -> Verdict {
        item.recycled += 1;
        match item.recycle {
            Check::Keep => Verdict::Keep,
            Check::Discard => Verdict::Discard,
            Check::DiscardLater | Check::Hang | Check::Panic => panic!("scripted panic of `recycle`"),
        }
    }

    async fn health(&self, item: &mut Item) -> Verdict {
        match item.health {
            Check::Keep => Verdict::Keep,
            Check::Discard => Verdict::Discard,
            Check::DiscardLater => {
                yield_now().await;
                Verdict::Discard
            }
            Check::Hang => pending().await,
            Check::Panic => panic!("scripted panic of `health`"),
        }
    }
}

/// A creation that counts as running until its future is dropped or has completed.
struct RunningCreation<'s> {
    script: &'s Script,
    panics: bool,
}

impl Drop for RunningCreation<'_> {
    fn drop(&mut self) {
        self.script.creating.fetch_sub(1, SeqCst);
        assert!(!self.panics, "scripted panic");
    }
}

/// An item that counts as live until its drop ends.
pub(crate) struct Item {
    pub(crate) id: usize,
    /// How often `recycle` has seen the item.
    pub(crate) recycled: usize,
    pub(crate) recycle: Check,
    pub(crate) health: Check,
    /// Runs when the item is dropped. May panic.
    pub(crate) on_drop: Option<Box<dyn FnOnce() + Send>>,
    script: Arc<Script>,
}

impl Drop for Item {
    fn drop(&mut self) {
        let _count_drop = CountDrop { script: &self.script, id: self.id };
        if let Some(hook) = self.on_drop.take() {
            hook();
        }
    }
}

/// Counts the drop of an item, even if the item's hook panics.
struct CountDrop<'s> {
    script: &'s Script,
    id: usize,
}

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.script.dropped.lock().unwrap().push(self.id);
        self.script.live.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScriptedError;

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted error")
    }
}

impl std::error::Error for ScriptedError {}

/// Yields often enough for every task to become idle. Paused time does not advance.
pub(crate) async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Polls the future once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Asserts that the counts of the status add up and agree with the items that exist.
#[track_caller]
pub(crate) fn assert_consistent(pool: &Pool<ScriptedManager>, manager: &ScriptedManager) -> PoolStatus {
    let status = pool.status();
    assert_eq!(status.size, status.idle + status.in_use + status.creating + status.dropping, "{status:?}");
    let left = status.totals.evicted + status.totals.detached + status.totals.discarded.sum();
    let came = status.totals.created + status.totals.added;
    assert_eq!(came, (status.idle + status.in_use) as u64 + left, "{status:?}");
    assert_eq!(status.totals.created, status.creates.count(), "{status:?}");
    let detached = usize::try_from(status.totals.detached).unwrap();
    assert_eq!(manager.live(), status.idle + status.in_use + status.dropping + detached, "{status:?}");
    status
}

/// Asserts that the pool is consistent, that every task has ended, and that no item, waiter or permit is left over.
pub(crate) async fn assert_quiescent(pool: &Pool<ScriptedManager>, manager: &ScriptedManager) -> PoolStatus {
    settle().await;
    let status = assert_consistent(pool, manager);
    assert_eq!((status.in_use, status.creating, status.dropping, status.waiting), (0, 0, 0, 0), "{status:?}");
    assert_eq!(pool.gate().status().in_use, 0, "a permit was lost");
    status
}
