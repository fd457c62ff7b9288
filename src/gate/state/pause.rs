//! Pausing a gate: it keeps its queue and admits nothing until it is resumed.
//!
//! A pause sets the limit in the atomic word, or in the node of a tree, to 0. No other gate has the limit 0. So nothing fits, and
//! no path needs a check of its own. The configured limit is stored separately.

use super::admission::GateState;
use crate::gate::permits::Word;
use crate::gate::queue::FifoQueue;
use crate::gate::queue::fair::{FairQueue, Place};
use crate::gate::wake_list::WakeList;
use crate::plan::Limit;

/// The rules of a [standalone](crate::gate) gate.
impl GateState<FifoQueue> {
    /// Pauses the gate: it admits no request until it is resumed.
    pub(in crate::gate) fn pause(&mut self, word: &mut Word) {
        if !word.is_paused() {
            self.paused_limit = self.limit(*word);
            *word = word.with_limit(0);
        }
    }

    /// Ends a pause, and grants permits to the waiters that fit.
    pub(in crate::gate) fn resume(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        if word.is_paused() {
            *word = self.unpaused(*word);
            self.serve_queue_slow(word, clock, wake_list);
        }
    }

    /// Returns the limit, also that of a paused gate.
    pub(in crate::gate) fn limit(&self, word: Word) -> Limit {
        if word.is_paused() { self.paused_limit } else { Limit::saturating(word.limit().into()) }
    }

    /// Sets the limit, also that of a paused gate.
    pub(super) fn set_limit(&mut self, word: &mut Word, limit: Limit) {
        if word.is_paused() {
            self.paused_limit = limit;
        } else {
            *word = word.with_limit(limit.get());
        }
    }

    /// Returns the word as it would be without a pause.
    pub(in crate::gate) fn unpaused(&self, word: Word) -> Word {
        if word.is_paused() { word.with_limit(self.paused_limit.get()) } else { word }
    }
}

/// The rules of a tree of gates.
impl GateState<FairQueue> {
    /// Pauses a gate: no request is admitted there and below until it is resumed. A key cannot be paused. The caller then serves the queue:
    /// waiters elsewhere in the tree may fit now, because no request of the paused gate keeps them waiting any more.
    pub(in crate::gate) fn pause_in_tree(&mut self, place: &Place) {
        if let Place::Gate(id) = place {
            self.queue.pause(*id);
        }
    }

    /// Ends the pause of a gate. The caller then serves the queue.
    pub(in crate::gate) fn resume_in_tree(&mut self, place: &Place, clock: impl Fn() -> i64) {
        if let Place::Gate(id) = place {
            self.queue.resume(*id, clock);
        }
    }

    /// Returns `true` if a gate or one of its ancestors is paused.
    pub(in crate::gate) fn is_paused_in_tree(&self, place: &Place) -> bool {
        self.queue.paused_level(place.declared()).is_some()
    }
}
