//! A value that belongs to one process.

use std::ops::{Deref, DerefMut};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value behind a lock that is replaced by the default in a forked child.
///
/// A child must not use the descriptors in its parent's value: an event that the child reads would be lost to the
/// parent.
#[derive(Debug)]
pub(in crate::probe) struct ForkLocal<T> {
    /// The process that created the value. In any other process, the lock may be held by a thread that does not exist
    /// there.
    process: u32,
    value: Mutex<ForkLocalValue<T>>,
}

/// The value and the process to which it belongs.
#[derive(Debug)]
pub(in crate::probe) struct ForkLocalValue<T> {
    process: u32,
    value: T,
}

impl<T: Default> ForkLocal<T> {
    /// Creates a value of this process.
    pub(in crate::probe) fn new(value: T) -> Self {
        let process = process::id();
        Self { process, value: Mutex::new(ForkLocalValue { process, value }) }
    }

    /// Locks the value. Returns `None` in a child that was forked while another thread held the lock.
    pub(in crate::probe) fn lock(&self) -> Option<MutexGuard<'_, ForkLocalValue<T>>> {
        self.lock_in_process(process::id())
    }

    fn lock_in_process(&self, process: u32) -> Option<MutexGuard<'_, ForkLocalValue<T>>> {
        let mut guard = if process == self.process {
            self.value.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            match self.value.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            }
        };
        if guard.process != process {
            *guard = ForkLocalValue { process, value: T::default() };
        }
        Some(guard)
    }
}

impl<T: Default> Default for ForkLocal<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> ForkLocalValue<T> {
    /// Returns the ID of this process without another system call.
    pub(in crate::probe) fn process(&self) -> u32 {
        self.process
    }
}

impl<T> Deref for ForkLocalValue<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for ForkLocalValue<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forked child starts with the default value, and does not block on a lock that its parent held.
    #[test]
    fn child_starts_with_the_default() {
        let local = ForkLocal::new(7);
        let child = process::id().wrapping_add(1);
        assert_eq!(**local.lock().unwrap(), 7);
        let guard_of_parent = local.lock().unwrap();
        assert!(local.lock_in_process(child).is_none());
        drop(guard_of_parent);
        **local.lock_in_process(child).unwrap() = 8;
        assert_eq!(**local.lock_in_process(child).unwrap(), 8);
        assert_eq!(**local.lock().unwrap(), 0);
    }
}
