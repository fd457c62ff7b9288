//! The pool's record of one item.

/// An item with the times that decide when it is dropped, in nanoseconds of the gates' clock.
#[derive(Debug)]
pub(super) struct ItemRecord<I> {
    pub(super) item: I,
    pub(super) created: i64,
    /// When the item reaches its maximum lifetime.
    pub(super) expires: i64,
    /// When the item became idle. Not maintained in a pool without an idle timeout and a maximum lifetime.
    pub(super) idle_since: i64,
    /// Position in the order in which items became idle: the warmest idle item has the highest number.
    pub(super) sequence: u64,
    /// The ticket of the checkout that uses the item.
    pub(super) ticket: u64,
}

impl<I> ItemRecord<I> {
    pub(super) const fn new(item: I, created: i64, expires: i64) -> Self {
        Self { item, created, expires, idle_since: created, sequence: 0, ticket: 0 }
    }
}
