//! What belongs to one process.

use std::ops::{Deref, DerefMut};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value under a lock, which a forked child gets anew: what its parent has in it is the parent's to take.
#[derive(Debug)]
pub(super) struct Own<T> {
    /// The process that made it. In any other, a thread that does not exist there may have the lock for ever.
    process: u32,
    held: Mutex<Held<T>>,
}

#[derive(Debug)]
pub(super) struct Held<T> {
    process: u32,
    value: T,
}

impl<T: Default> Own<T> {
    pub(super) fn new(value: T) -> Self {
        let process = process::id();
        Self { process, held: Mutex::new(Held { process, value }) }
    }

    /// Locks it for a moment; `None` in a child that was forked while another thread had the lock.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, Held<T>>> {
        self.lock_as(process::id())
    }

    fn lock_as(&self, process: u32) -> Option<MutexGuard<'_, Held<T>>> {
        let mut held = if process == self.process {
            self.held.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            match self.held.try_lock() {
                Ok(held) => held,
                Err(TryLockError::Poisoned(held)) => held.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            }
        };
        if held.process != process {
            *held = Held { process, value: T::default() };
        }
        Some(held)
    }
}

impl<T: Default> Default for Own<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Held<T> {
    /// This process, which to ask the kernel for again would be a system call.
    pub(super) fn process(&self) -> u32 {
        self.process
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forked child starts with nothing, and waits for no thread that it does not have.
    #[test]
    fn child_starts_anew() {
        let own = Own::new(7);
        let child = process::id().wrapping_add(1);
        assert_eq!(**own.lock().unwrap(), 7);
        let parents = own.lock().unwrap();
        assert!(own.lock_as(child).is_none());
        drop(parents);
        **own.lock_as(child).unwrap() = 8;
        assert_eq!(**own.lock_as(child).unwrap(), 8);
        assert_eq!(**own.lock().unwrap(), 0);
    }
}
