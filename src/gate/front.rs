//! What of a gate is used without its lock.

use super::sync::{AtomicU64, Ordering};
use super::word::Word;

/// The word of a gate, and each way in which it changes.
pub(super) struct Front {
    word: AtomicU64,
}

impl Front {
    pub(super) fn new(word: Word) -> Self {
        Self { word: AtomicU64::new(word.0) }
    }

    /// Admits a request if there is room and nothing stands against it; else it has to take the lock.
    #[inline]
    pub(super) fn admit(&self, weight: u32) -> bool {
        let mut word = Word(self.word.load(Ordering::Relaxed));
        while let Some(admitted) = word.admitting(weight) {
            // Acquire: what was done under the permits that came back happens before what is done under these.
            match self.word.compare_exchange_weak(word.0, admitted.0, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => word = Word(current),
            }
        }
        false
    }

    /// Refuses a request for one permit, if it would have to wait and nothing else stands against it; else it has to take
    /// the lock.
    #[inline]
    pub(super) fn refuse_one(&self) -> bool {
        let mut word = Word(self.word.load(Ordering::Relaxed));
        while let Some(refused) = word.refusing_one() {
            // Relaxed: nothing but the word itself is at stake.
            match self.word.compare_exchange_weak(word.0, refused.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => word = Word(current),
            }
        }
        false
    }

    /// Whether somebody waits, at a glance: an instant later it may be otherwise.
    #[inline]
    pub(super) fn has_line(&self) -> bool {
        Word(self.word.load(Ordering::Relaxed)).has(Word::WAITING)
    }

    /// Gives permits back, and says what the word was before.
    #[inline]
    pub(super) fn give_back(&self, weight: u32) -> Word {
        // Release: what was done under these permits happens before what is done under them next.
        Word(self.word.fetch_add(Word::returning(weight), Ordering::Release))
    }

    /// Makes it known that somebody waits, unless there is room for this weight.
    #[inline]
    pub(super) fn announce(&self, weight: u32) -> bool {
        let mut word = self.word();
        while !word.fits(weight) {
            let announced = word.0 | Word::WAITING;
            match self.word.compare_exchange_weak(word.0, announced, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => word = Word(current),
            }
        }
        false
    }

    /// Admits a request, or makes it known that somebody waits. `None` if something other than too little room stands
    /// against it.
    #[inline]
    pub(super) fn admit_or_announce(&self, weight: u32) -> Option<bool> {
        let mut word = self.word();
        while let Some((next, is_admitted)) = word.admitting_or_announcing(weight) {
            match self.word.compare_exchange_weak(word.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(is_admitted),
                Err(current) => word = Word(current),
            }
        }
        None
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Changes the word by one addition, and says what it was before.
    #[inline]
    pub(super) fn add(&self, change: u64) -> Word {
        Word(self.word.fetch_add(change, Ordering::AcqRel))
    }

    /// Sets a flag, and says what the word was before.
    pub(super) fn raise(&self, flag: u64) -> Word {
        Word(self.word.fetch_or(flag, Ordering::AcqRel))
    }

    /// Clears a flag.
    pub(super) fn lower(&self, flag: u64) {
        self.word.fetch_and(!flag, Ordering::AcqRel);
    }

    /// Puts a word in force whatever was there: for a gate that nobody has yet.
    pub(super) fn set(&self, word: Word) {
        self.word.store(word.0, Ordering::Release);
    }
}
