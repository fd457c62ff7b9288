//! A pool as a member of its group.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::effects::PoolEffects;
use super::group::{GroupMember, PoolGroup, SpareItems};
use super::manager::Manager;
use super::shared::PoolShared;
use crate::gate::clock;

impl<M: Manager> PoolShared<M> {
    /// Makes room for the pool's waiters: drops idle items of other pools.
    ///
    /// Each drop lets the pools of the group use the free place, which may come back here. So one thread at a time does it, and
    /// looks again if another came meanwhile.
    pub(super) fn make_room(self: &Arc<Self>, group: &PoolGroup) {
        let mut requests = self.room_requests.fetch_add(1, SeqCst).wrapping_add(1);
        if requests > 1 {
            return;
        }
        loop {
            // A place may have become free before the others knew that this pool lacks one.
            self.fill_once();
            while self.lock().lacks_places() && group.drop_spare_item() {}
            match self.room_requests.compare_exchange(requests, 0, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => requests = now,
            }
        }
    }

    /// Creates the items that the pool needs, as far as there are places. Makes no room if there are none.
    fn fill_once(self: &Arc<Self>) {
        let (now, mut effects) = (clock::now(), PoolEffects::default());
        let mut state = self.lock();
        state.fill(now, self.gate.limit(), &mut effects);
        state.update_group(&mut effects);
        drop(state);
        effects.lacks_places = false; // the caller makes room
        self.perform(effects);
    }
}

impl<M: Manager> GroupMember for PoolShared<M> {
    fn spare_items(&self, spare: SpareItems) -> usize {
        self.lock().spare_items(spare)
    }

    fn drop_spare_item(self: Arc<Self>, spare: SpareItems) -> bool {
        self.apply(|state, effects| state.drop_spare_item(spare, effects))
    }

    fn fill(self: Arc<Self>) {
        let now = clock::now();
        self.apply(|state, effects| state.fill(now, self.gate.limit(), effects));
    }
}
