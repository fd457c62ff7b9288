//! What the engine synchronises with, in one place, so that a model checker can put its own in.

/// What only counts, and orders nothing.
pub(super) use std::sync::atomic::AtomicU64 as Counter;

#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(gate_loom)]
pub(super) use loom::cell::UnsafeCell;
#[cfg(gate_loom)]
pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(gate_loom)]
pub(super) use loom::sync::{Mutex, MutexGuard};

#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::{Mutex, MutexGuard};

/// A cell by the interface of loom's, which holds that nobody reads it while somebody else writes.
#[cfg(not(gate_loom))]
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(gate_loom))]
impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
