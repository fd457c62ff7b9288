//! What of a gate is used without its lock.

use std::hint;

use super::sync::{AtomicU64, Ordering};
use super::word::Word;

/// The word of a gate, and each way in which it changes.
pub(super) struct Front {
    word: AtomicU64,
}

/// A change of the limit.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) from: u32,
    pub(super) after: Word,
}

impl Change {
    #[inline]
    fn of(before: Word, limit: u32) -> Self {
        Self { from: before.limit(), after: before.under(limit) }
    }
}

impl Front {
    pub(super) fn new(word: Word) -> Self {
        Self { word: AtomicU64::new(word.0) }
    }

    /// Admits a request if there is room and nothing stands against it; else it has to take the lock.
    #[inline]
    pub(super) fn admit(&self, weight: u32) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let Some(admitted) = Word(word).admitting(weight) else { return false };
        // Acquire: what was done under the permits that came back happens before what is done under these.
        let changed = self.word.compare_exchange(word, admitted.0, Ordering::Acquire, Ordering::Relaxed);
        changed.is_ok() || self.admit_after_a_while(weight)
    }

    /// The same for whom another came before. Two threads that take turns at the word send its cache line to and fro, which
    /// takes longer than all they do with it; so who comes second lets the other go on for a while, once.
    #[cold]
    #[inline(never)]
    fn admit_after_a_while(&self, weight: u32) -> bool {
        for _ in 0..PATIENCE {
            hint::spin_loop();
        }
        let admitted = |word| Word(word).admitting(weight).map(|admitted| admitted.0);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, admitted).is_ok()
    }

    /// Whether a request for one permit is refused, for want of one alone; else it has to take the lock.
    #[inline]
    pub(super) fn refuses_one(&self) -> bool {
        Word(self.word.load(Ordering::Relaxed)).refuses_one()
    }

    /// Gives permits back, and says whether that takes the lock.
    #[inline]
    pub(super) fn give_back(&self, weight: u32) -> bool {
        let returning = Word::returning(weight);
        // Release: what was done under these permits happens before what is done under them next.
        let before = self.word.fetch_add(returning, Ordering::Release);
        Word(before.wrapping_add(returning)).calls_release()
    }

    /// Has the word guarded, unless there is room for this weight, or none under the limit.
    #[inline]
    pub(super) fn guard(&self, weight: u32) -> bool {
        let guarded = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let waits = !Word(word).fits(weight) && Word(word).may_ever_admit(weight);
            waits.then_some(word | Word::GUARDED)
        });
        guarded.is_ok()
    }

    /// Has the word guarded, if it is as a newcomer to an empty line mostly finds it: open, and with too little room; else
    /// nothing has happened.
    #[inline]
    pub(super) fn guard_at_once(&self, weight: u32) -> bool {
        let word = self.word();
        word.guarding(weight).is_some_and(|guarded| {
            self.word.compare_exchange(word.0, guarded.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }

    /// Puts another limit in force if nobody has to be told; else that takes the lock.
    #[inline]
    pub(super) fn resize_at_once(&self, limit: u32) -> Option<Change> {
        let resized = |word| Word(word).resizing_at_once(limit).map(|resized| resized.0);
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, resized).ok()?;
        Some(Change::of(Word(before), limit))
    }

    /// Puts another limit in force.
    pub(super) fn resize(&self, limit: u32) -> Change {
        let resized = |word| Some(Word(word).under(limit).0);
        let (Ok(before) | Err(before)) = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, resized);
        Change::of(Word(before), limit)
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

/// A microsecond or so, in which the other is done with a hundred of what it does. A model checker knows no time.
const PATIENCE: u32 = if cfg!(any(gate_loom, gate_shuttle)) { 0 } else { 64 };
