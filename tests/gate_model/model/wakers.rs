//! Wakers that record each wake-up in a log. After their creation they allocate nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

/// A waker that records in a log that it was woken.
pub(crate) struct RecordingWaker {
    id: u8,
    inner: Arc<LoggedWake>,
    waker: Waker,
}

impl RecordingWaker {
    pub(crate) fn new(id: u8, log: &Arc<WakeLog>) -> Self {
        let inner = Arc::new(LoggedWake { id, log: Arc::clone(log) });
        Self { id, waker: Waker::from(Arc::clone(&inner)), inner }
    }

    pub(crate) const fn id(&self) -> u8 {
        self.id
    }

    pub(crate) const fn as_waker(&self) -> &Waker {
        &self.waker
    }

    /// Returns the number of clones of the waker that exist elsewhere.
    pub(crate) fn retained_clones(&self) -> usize {
        Arc::strong_count(&self.inner) - 2 // `inner` and `waker` of this value
    }
}

struct LoggedWake {
    id: u8,
    log: Arc<WakeLog>,
}

impl Wake for LoggedWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.log.push(self.id);
    }
}

/// The ids of the wakers that were woken since the last `clear`, in order.
///
/// The model uses one thread. The atomics are there because `Waker` requires `Sync`.
pub(crate) struct WakeLog {
    len: AtomicUsize,
    ids: [AtomicU8; CAPACITY],
}

/// Far more than there are wakers, so that repeated wake-ups show as a difference.
const CAPACITY: usize = 64;

impl WakeLog {
    pub(crate) fn new() -> Self {
        Self { len: AtomicUsize::new(0), ids: std::array::from_fn(|_| AtomicU8::new(0)) }
    }

    fn push(&self, id: u8) {
        let len = self.len.load(Relaxed);
        if let Some(place) = self.ids.get(len) {
            place.store(id, Relaxed);
            self.len.store(len + 1, Relaxed);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.ids[..self.len.load(Relaxed)].iter().map(|id| id.load(Relaxed))
    }

    pub(crate) fn clear(&self) {
        self.len.store(0, Relaxed);
    }
}
