//! What the engine synchronises with, in one place, so that a model checker can put its own in.

/// What only counts, and orders nothing.
pub(super) use std::sync::atomic::AtomicU64 as Counter;

#[cfg(not(gate_loom))]
pub(super) use super::lock::{Held, Lock};

#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::hint::spin_loop;
#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(gate_loom)]
pub(super) use checked::{Held, Lock};
#[cfg(gate_loom)]
pub(super) use loom::cell::UnsafeCell;
#[cfg(gate_loom)]
pub(super) use loom::sync::Mutex;
#[cfg(gate_loom)]
pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(gate_shuttle)]
pub(super) use shuttle::hint::spin_loop;
#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};

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

/// A lock of the model checker's by the interface of our own, which has models of its own: as part of each model of the
/// gate it would take too many steps.
#[cfg(gate_loom)]
mod checked {
    use std::ptr;
    use std::sync::PoisonError;

    use loom::sync::{Mutex, MutexGuard};

    #[derive(Default)]
    pub(in super::super) struct Lock(Mutex<()>);

    pub(in super::super) struct Held<'a> {
        lock: &'a Lock,
        guard: MutexGuard<'a, ()>,
    }

    impl Lock {
        pub(in super::super) fn take(&self) -> Held<'_> {
            Held { lock: self, guard: self.0.lock().unwrap_or_else(PoisonError::into_inner) }
        }

        #[expect(clippy::unnecessary_wraps, reason = "it waits for its turn rather than go two ways")]
        pub(in super::super) fn try_take(&self) -> Option<Held<'_>> {
            Some(self.take())
        }

        #[expect(clippy::unused_self, reason = "its own sleepers it calls by itself")]
        pub(in super::super) fn call(&self) {}
    }

    impl<'a> Held<'a> {
        pub(in super::super) fn is_of(&self, lock: &Lock) -> bool {
            ptr::eq(self.lock, lock)
        }

        pub(in super::super) fn give_back(self) -> Option<&'a Lock> {
            drop(self.guard);
            None
        }
    }
}
