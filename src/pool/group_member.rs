//! A pool as a member of its group.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::group::{GroupMember, PoolGroup, SpareItems};
use super::manager::Manager;
use super::shared::PoolShared;
use crate::gate::clock;

impl<M: Manager> PoolShared<M> {
    /// Makes room for the pool's waiters: drops idle items of other pools.
    ///
    /// Each drop frees a slot, which all pools of the group may use. That may call this method again. So only one thread at a time
    /// drops items. A call that arrives meanwhile only counts itself, and then the running one checks again.
    pub(super) fn make_room(self: &Arc<Self>, group: &PoolGroup) {
        let mut requests = self.room_requests.fetch_add(1, SeqCst).wrapping_add(1);
        if requests > 1 {
            return;
        }
        loop {
            while self.lock().lacks_slots() && group.drop_spare_item() {}
            match self.room_requests.compare_exchange(requests, 0, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => requests = now,
            }
        }
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
        self.apply(|state, effects| state.fill(now, self.gate.item_limit(), effects));
    }
}
