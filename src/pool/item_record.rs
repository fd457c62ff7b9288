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
    /// Position in the order in which items became idle: the warmest idle item has the highest number. An item that is delivered to a
    /// waiter has the position that it would have got.
    pub(super) sequence: u64,
    /// The place of the checkout that uses the item.
    pub(super) place: CheckoutPlace,
}

impl<I> ItemRecord<I> {
    pub(super) fn new(item: I, created: i64, expires: i64) -> Self {
        Self { item, created, expires, idle_since: created, sequence: 0, place: CheckoutPlace::default() }
    }
}

/// The wait of a checkout, and whether the histogram records it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CheckoutWait {
    /// When the wait began. `None` if the wait is neither bounded nor recorded, because then nothing needs its start.
    pub(super) since: Option<i64>,
    /// The number of waits that this one represents in the histogram; 0 if it is not recorded.
    pub(super) sample: u16,
}

impl CheckoutWait {
    /// Returns a recorded wait that represents only itself.
    pub(super) const fn recorded(since: i64) -> Self {
        Self { since: Some(since), sample: 1 }
    }
}

/// The place of a checkout among the others. A checkout keeps it if its item fails the health check.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CheckoutPlace {
    /// The number of the checkout in the order in which admitted checkouts requested an item.
    pub(super) ticket: u64,
    /// The round in which the checkout arrived. A round begins with each attempt after a backoff delay.
    pub(super) round: u64,
}
