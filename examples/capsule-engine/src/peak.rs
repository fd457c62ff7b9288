//! How many were at work at once, at most.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts who is at work, and remembers the most.
#[derive(Debug, Default)]
pub struct Peak {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    /// Counts one until what it returns is dropped.
    pub fn enter(&self) -> AtWork<'_> {
        self.add();
        AtWork(self)
    }

    /// Counts one until [`remove`](Self::remove), for who cannot hold a guard.
    pub fn add(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn remove(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// The most that ever were at work at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

/// One at work.
#[must_use = "it counts until it is dropped"]
pub struct AtWork<'p>(&'p Peak);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}
