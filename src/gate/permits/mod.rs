//! The permits of a gate, and the lock of everything else: one atomic word.
//!
//! While no request waits, one compare-and-swap admits a request, releases permits, or sets the limit. Every other change happens under
//! the lock, which is a flag of the same word: while [`Word::LOCKED`] is set, **only the lock holder changes the word**. So a
//! step under the lock works on a plain copy of the word, and unlocking stores it. The flag [`Word::WAITERS`] turns the fast
//! path off. `docs/ORDERING.md` has the argument.
//!
//! No foreign code runs under the lock. Most steps are short. Closing, a resize that may reject waiters, expiry,
//! the loss of a timer and an early wake-up visit the queue, and take time linear in the number of the waiters visited. Removing a
//! deadline sometimes rebuilds a heap. Some steps of a tree visit all of its nodes.
//!
//! The lock is a flag of the word because handing a permit to a waiter then needs two atomic operations instead of five: benchmark rows
//! `cycle`, `drain` and `enqueue`.

#![expect(unsafe_code, reason = "the lock gives access to the state that it protects")]

mod word;

use std::sync::PoisonError;
#[cfg(not(any(gate_loom, gate_shuttle)))]
use std::{thread, time::Duration};

pub(super) use word::Word;

use super::holders::record::HeldPermits;
use super::sync::{self, AtomicU64, Mutex, Ordering, UnsafeCell};
use crate::plan::Limit;

/// The permits, and the state that their lock protects.
#[repr(C)]
pub(super) struct Permits<T> {
    word: AtomicU64,
    /// `None` if the permits are those of a tree; see [`of_tree`](Self::of_tree).
    state: Option<Box<StateCell<T>>>,
    /// Serializes the threads that still wait for the lock after their first polls, so that only one of them continues to poll.
    turn: Mutex<()>,
}

/// The state, on cache lines of its own.
#[repr(align(64))]
struct StateCell<T>(UnsafeCell<T>);

// SAFETY: the state is accessed by the lock holder alone, which may be any thread.
unsafe impl<T: Send> Sync for Permits<T> {}

/// Holds the lock, and releases it on drop.
pub(super) struct LockedPermits<'p, T> {
    permits: &'p Permits<T>,
    state: &'p StateCell<T>,
    /// The word, without [`Word::LOCKED`]. Other threads see it when the lock is released.
    word: Word,
}

impl<T> Permits<T> {
    pub(super) fn new(limit: Limit, state: T) -> Self {
        let state = Some(Box::new(StateCell(UnsafeCell::new(state))));
        Self { word: AtomicU64::new(Word::new(limit).0), state, turn: Mutex::new(()) }
    }

    /// Creates the permits of a gate in a tree. The word has the limit 1 and one available permit, and [`Word::WAITERS`] makes the fast
    /// path fail. There is no state to lock: the tree has its own lock.
    pub(super) fn of_tree() -> Self {
        let word = Word::new(Limit::MIN).with(Word::WAITERS);
        Self { word: AtomicU64::new(word.0), state: None, turn: Mutex::new(()) }
    }

    /// Takes `weight` permits if they are available and no request waits. The weight must not be 0.
    ///
    /// Returns `false`, and changes nothing, if the slow path must decide.
    #[inline]
    pub(super) fn try_acquire(&self, weight: u32) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let Some(acquired) = Word(word).try_acquired(weight) else { return false };
        // Acquire: the work done under the released permits happens before the work done under these.
        let changed = self.word.compare_exchange(word, acquired.0, Ordering::Acquire, Ordering::Relaxed);
        changed.is_ok() || self.try_acquire_contended(weight)
    }

    /// Retries after a failed compare-and-swap. One bounded spin first, so that two threads do not bounce the cache
    /// line on every operation.
    #[cold]
    #[inline(never)]
    fn try_acquire_contended(&self, weight: u32) -> bool {
        for _ in 0..RETRY_SPINS {
            sync::spin_loop();
        }
        let acquired = |word| Word(word).try_acquired(weight).map(|acquired| acquired.0);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, acquired).is_ok()
    }

    /// Releases permits if no request waits. Permits with a record belong to a tree, where this always fails.
    ///
    /// Returns `false`, and changes nothing, if the caller must release them under the lock.
    #[inline]
    pub(super) fn try_release(&self, held: HeldPermits) -> bool {
        let released = |word| {
            let word = Word(word);
            if word.has(Word::LOCKED | Word::WAITERS) { None } else { Some(word.released_untracked(held).0) }
        };
        // Release: the work done under these permits happens before the work done under the next ones.
        self.word.fetch_update(Ordering::Release, Ordering::Relaxed, released).is_ok()
    }

    /// Sets the limit to the result of `change`, and returns the word before the change.
    ///
    /// Returns `None`, and changes nothing, if the caller must do that under the lock.
    #[inline]
    pub(super) fn try_resize(&self, change: impl Fn(Limit) -> Limit) -> Option<Word> {
        let with_changed_limit = |word: Word| {
            let limit = change(Limit::saturating(word.limit().into()));
            word.with_limit(limit.get())
        };
        let resized = |word| {
            let word = Word(word);
            let is_slow = word.has(Word::LOCKED | Word::WAITERS) || word.is_paused();
            if is_slow { None } else { Some(with_changed_limit(word).0) }
        };
        // Acquire: the caller sees a listener that was inserted before this change. Release: the work of this thread happens before the
        // work that a raised limit admits, as it does if the limit is raised under the lock.
        self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, resized).ok().map(Word)
    }

    /// Returns the word at this instant.
    #[inline]
    pub(super) fn load(&self) -> Word {
        // Acquire: a thread that reads `CLOSED` sees what happened before the gate was closed.
        Word(self.word.load(Ordering::Acquire))
    }

    /// Locks the state and the word. Returns `None` for a gate in a tree.
    #[inline]
    pub(super) fn lock(&self) -> Option<LockedPermits<'_, T>> {
        let state = &**self.state.as_ref()?;
        let word = self.try_lock().unwrap_or_else(|| self.lock_contended());
        Some(LockedPermits { permits: self, state, word })
    }

    #[inline]
    fn try_lock(&self) -> Option<Word> {
        let word = Word(self.word.load(Ordering::Relaxed));
        if word.has(Word::LOCKED) {
            return None;
        }
        // Acquire: the work done under released permits, and by the last lock holder, happens before this step.
        let locked = word.with(Word::LOCKED);
        let changed = self.word.compare_exchange(word.0, locked.0, Ordering::Acquire, Ordering::Relaxed);
        changed.is_ok().then_some(word)
    }

    /// Waits for the lock. Polls with exponential backoff first, because each poll takes the cache line of the word from the lock
    /// holder: benchmark rows `tasks-cpu` and `tasks-wall`. Then it waits for its turn to poll.
    ///
    /// After `MAX_SPINS` polls the system has probably preempted the holder. Then the thread sleeps between polls, so that the holder
    /// can run whatever the priorities are.
    #[cold]
    #[inline(never)]
    fn lock_contended(&self) -> Word {
        // The backoff: most lock holders have finished by then.
        for spins in BACKOFF_SPINS {
            for _ in 0..*spins {
                sync::spin_loop();
            }
            if let Some(word) = self.try_lock() {
                return word;
            }
        }
        // The turn: without it, all waiting threads would take the cache line from the lock holder.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spins = 0_u32;
        loop {
            if let Some(word) = self.try_lock() {
                return word;
            }
            spins = spins.saturating_add(1);
            #[cfg(not(any(gate_loom, gate_shuttle)))]
            if spins > MAX_SPINS {
                thread::sleep(PREEMPTED_SLEEP);
            }
            sync::spin_loop();
        }
    }
}

impl<T> LockedPermits<'_, T> {
    /// Returns the state and the word.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut T, &mut Word) {
        // SAFETY: this thread holds the lock, and `&mut self` makes the reference unique for its lifetime.
        let state = self.state.0.with_mut(|state| unsafe { &mut *state });
        (state, &mut self.word)
    }
}

impl<T> Drop for LockedPermits<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A plain store: while the flag is set no other thread changes the word. Release: the step happens before the work
        // done under the permits that it makes available, and before the next step.
        self.permits.word.store(self.word.0, Ordering::Release);
    }
}

/// About a microsecond, in which the other thread completes many operations. A model checker does not model time.
const RETRY_SPINS: u32 = if cfg!(any(gate_loom, gate_shuttle)) { 0 } else { 64 };
/// The spins before each of the first polls for the lock.
const BACKOFF_SPINS: &[u32] = if cfg!(any(gate_loom, gate_shuttle)) { &[] } else { &[2, 4, 8, 16] };
/// Some microseconds: longer than most steps take.
#[cfg(not(any(gate_loom, gate_shuttle)))]
const MAX_SPINS: u32 = 200;
#[cfg(not(any(gate_loom, gate_shuttle)))]
const PREEMPTED_SLEEP: Duration = Duration::from_micros(50);

#[cfg(test)]
#[cfg(not(any(gate_loom, gate_shuttle)))]
mod tests {
    use std::time::Instant;

    use super::*;

    /// One thread at a time holds the lock, and sees what the others did. The fast path fails meanwhile.
    #[test]
    fn one_thread_holds_the_lock() {
        const THREADS: u64 = 8;
        const STEPS: u64 = if cfg!(miri) { 20 } else { 20_000 };
        let permits = Permits::new(Limit::new(8), 0_u64);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let permits = &permits;
                scope.spawn(move || {
                    for step in 0..STEPS {
                        let mut locked = permits.lock().unwrap();
                        let before = *locked.parts().0;
                        if step % 1000 == thread {
                            assert!(
                                !permits.try_acquire(1) && !permits.try_release(HeldPermits::untracked(1))
                            );
                            thread::yield_now();
                        }
                        *locked.parts().0 = before.saturating_add(1);
                        drop(locked);
                        if permits.try_acquire(1) {
                            while !permits.try_release(HeldPermits::untracked(1)) {
                                thread::yield_now();
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(*permits.lock().unwrap().parts().0, THREADS * STEPS);
        assert_eq!(permits.load(), Word::new(Limit::new(8)));
    }

    /// A thread gets the lock although the system suspends its holder for long.
    #[test]
    fn a_suspended_lock_holder_is_waited_for() {
        let permits = Permits::new(Limit::MIN, ());
        let locked = permits.lock().unwrap();
        assert!(permits.try_lock().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(permits.lock().unwrap()));
            let start = Instant::now();
            while permits.turn.try_lock().is_ok() {
                assert!(start.elapsed() < Duration::from_secs(60), "the thread does not wait for the lock");
                thread::yield_now();
            }
            thread::sleep(20 * PREEMPTED_SLEEP);
            assert!(!waiting.is_finished());
            drop(locked);
        });
    }

    /// What a step does to the word becomes visible when the lock is released, also by a panic.
    #[test]
    fn the_word_is_stored_on_unlock() {
        let permits = Permits::new(Limit::new(2), ());
        let panicking = thread::scope(|scope| {
            let step = || {
                let mut locked = permits.lock().unwrap();
                let ((), word) = locked.parts();
                *word = word.acquired(2);
                panic!("under the lock");
            };
            scope.spawn(step).join()
        });
        assert!(panicking.is_err());
        assert_eq!((permits.load().available(), permits.load().in_use()), (0, 2));
        assert!(permits.try_release(HeldPermits::untracked(2)));
    }
}
