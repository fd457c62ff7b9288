//! An item that was taken from the pool and that no user has had since.

use std::sync::Arc;

use super::item_record::ItemRecord;
use super::manager::Manager;
use super::shared::PoolShared;

/// An item that the state counts as in use. Its drop puts the item back as it is, without [`Manager::recycle`].
pub(super) struct UnusedItem<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
    /// `None` once the item was taken out.
    record: Option<ItemRecord<M::Item>>,
}

impl<'s, M: Manager> UnusedItem<'s, M> {
    pub(super) const fn new(shared: &'s Arc<PoolShared<M>>, record: ItemRecord<M::Item>) -> Self {
        Self { shared, record: Some(record) }
    }

    pub(super) fn into_record(mut self) -> ItemRecord<M::Item> {
        self.record.take().expect("the item is taken out only here")
    }
}

impl<M: Manager> Drop for UnusedItem<'_, M> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.shared.put_back_slow(record);
        }
    }
}
