//! Counting how many operations ran at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts running operations, and records the highest count.
#[derive(Debug, Default)]
pub struct ConcurrencyPeak {
    current: AtomicUsize,
    highest: AtomicUsize,
}

impl ConcurrencyPeak {
    /// Counts an operation until the guard is dropped.
    pub fn enter(&self) -> RunningGuard<'_> {
        self.add();
        RunningGuard(self)
    }

    /// Counts an operation until [`remove`](Self::remove), for callers that cannot hold a guard.
    pub fn add(&self) {
        let current = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        self.highest.fetch_max(current, Ordering::Relaxed);
    }

    /// Ends an operation that was counted by [`add`](Self::add).
    pub fn remove(&self) {
        self.current.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the highest number of operations that ran at the same time.
    pub fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }
}

/// A running operation.
#[must_use = "the operation is counted until the guard is dropped"]
pub struct RunningGuard<'p>(&'p ConcurrencyPeak);

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}
