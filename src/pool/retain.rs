//! Judging idle items one by one, while the others stay available.

use std::sync::Arc;
use std::time::Duration;

use super::item_record::ItemRecord;
use super::manager::Manager;
use super::shared::PoolShared;
use super::state::elapsed;
use crate::gate::clock;

/// Discards the idle items for which `keep` returns `false`, from the coldest to the warmest. Returns their number.
pub(super) fn retain_idle<M: Manager>(
    shared: &Arc<PoolShared<M>>,
    mut keep: impl FnMut(&M::Item, Duration) -> bool,
) -> usize {
    // Items that become idle from here on have a higher sequence. They are not judged, so the loop ends.
    let below = shared.lock().next_sequence();
    let mut from = 0;
    let mut discarded = 0_usize;
    loop {
        let Some(record) = shared.lock().take_for_review(from, below) else { return discarded };
        from = record.sequence.saturating_add(1);
        let age = elapsed(record.created, clock::now());
        let mut reviewed = ReviewedItem { shared, record: Some(record) };
        if !keep(&reviewed.record().item, age) {
            reviewed.discard();
            discarded = discarded.saturating_add(1);
        }
    }
}

/// An idle item that is being judged. Its drop keeps the item in the pool, also when the judging closure panics.
struct ReviewedItem<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
    /// `None` once the item was discarded.
    record: Option<ItemRecord<M::Item>>,
}

impl<M: Manager> ReviewedItem<'_, M> {
    fn record(&self) -> &ItemRecord<M::Item> {
        self.record.as_ref().expect("the item has not been discarded")
    }

    fn discard(&mut self) {
        let Some(record) = self.record.take() else { return };
        self.shared.apply(|state, effects| state.discard_reviewed(record, effects));
    }
}

impl<M: Manager> Drop for ReviewedItem<'_, M> {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        let now = self.shared.reads_clock.then(clock::now); // it may have expired during the review
        self.shared.apply(|state, effects| state.keep_reviewed(record, now, clock::now, effects));
    }
}
