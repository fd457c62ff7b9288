//! The permits of a gate: one atomic word, and the ways to change it.
//!
//! Without waiters a request is admitted and a permit is released by one compare-and-swap each, without the lock. The
//! flag [`Word::WAITERS`] turns both into calls of the slow path. It is set and cleared by the lock holder only, and while
//! it is set **only the lock holder changes the word**, by a plain load and store. `docs/ORDERING.md` has the argument.

mod word;

use std::hint;

pub(super) use word::Word;

use super::sync::{AtomicU64, Ordering};
use crate::plan::Limit;

pub(super) struct Permits {
    word: AtomicU64,
}

impl Permits {
    pub(super) fn new(limit: Limit) -> Self {
        Self { word: AtomicU64::new(Word::new(limit).0) }
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

    /// Retries after a failed compare-and-swap. One bounded spin first, so that two threads do not move the cache line to
    /// and fro on every operation.
    #[cold]
    #[inline(never)]
    fn try_acquire_contended(&self, weight: u32) -> bool {
        for _ in 0..SPINS {
            hint::spin_loop();
        }
        let acquired = |word| Word(word).try_acquired(weight).map(|acquired| acquired.0);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, acquired).is_ok()
    }

    /// Returns `weight` permits if no request waits.
    ///
    /// Returns `false`, and changes nothing, if the caller must release them under the lock.
    #[inline]
    pub(super) fn try_release(&self, weight: u32) -> bool {
        let released = |word| {
            let word = Word(word);
            if word.has(Word::WAITERS) { None } else { Some(word.released(weight).0) }
        };
        // Release: the work done under these permits happens before the work done under the next ones.
        self.word.fetch_update(Ordering::Release, Ordering::Relaxed, released).is_ok()
    }

    /// Sets the limit and returns the word before the change.
    ///
    /// Returns `None`, and changes nothing, if a waiter or a listener must be considered under the lock.
    #[inline]
    pub(super) fn try_resize(&self, limit: Limit) -> Option<Word> {
        let resized = |word| {
            let word = Word(word);
            if word.has(Word::WAITERS | Word::LISTENERS) {
                None
            } else {
                Some(word.with_limit(limit.get()).0)
            }
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, resized).ok().map(Word)
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Sets [`Word::WAITERS`] if the word still has this value. Only the lock holder may call this.
    ///
    /// A compare-and-swap, so that no release can slip in between the check that a request does not fit and the flag.
    #[inline]
    pub(super) fn set_waiters(&self, word: Word) -> bool {
        let flagged = word.with(Word::WAITERS);
        self.word.compare_exchange(word.0, flagged.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Replaces the word. Only the lock holder may call this, and only while [`Word::WAITERS`] is set.
    #[inline]
    pub(super) fn store(&self, word: Word) {
        self.word.store(word.0, Ordering::Release);
    }

    /// Changes the word, and returns its value before the change. Only the lock holder may call this: the change may set
    /// flags and the limit.
    pub(super) fn update(&self, mut change: impl FnMut(Word) -> Word) -> Word {
        let (Ok(before) | Err(before)) =
            self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(change(Word(word)).0));
        Word(before)
    }
}

/// About a microsecond, in which the other thread completes many operations. A model checker has no time.
const SPINS: u32 = if cfg!(any(gate_loom, gate_shuttle)) { 0 } else { 64 };
