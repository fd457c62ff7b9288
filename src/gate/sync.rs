//! The synchronisation primitives of the gate: those of std, or of a model checker that replaces them.

/// An atomic number that is accessed with `Relaxed` only. Model checkers do not replace it, so it adds no step to a model.
pub(super) use std::sync::atomic::AtomicU64 as RelaxedU64;

#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::Mutex;
#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

#[cfg(not(any(gate_loom, gate_shuttle)))]
pub(super) use std::hint::spin_loop;

#[cfg(gate_loom)]
pub(super) use loom::cell::UnsafeCell;
#[cfg(gate_loom)]
pub(super) use loom::sync::Mutex;
#[cfg(gate_loom)]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
#[cfg(gate_loom)]
pub(super) use loom::thread::yield_now as spin_loop;

#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::Mutex;
#[cfg(gate_shuttle)]
pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
#[cfg(gate_shuttle)]
pub(super) use shuttle::thread::yield_now as spin_loop;

/// A cell with the interface of loom's cell. Only the latter checks that no thread reads the cell while another thread writes.
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
