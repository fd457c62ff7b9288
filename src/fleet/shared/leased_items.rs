//! Items that are bounded by a lease, such as those of a pool.

/// Items that count as held while they are live, also while no permit is in use for them. The methods are called under the lock of the
/// lease. So they must not run foreign code, nor take a lock under which the lease is called.
pub(crate) trait LeasedItems: Send + Sync {
    /// Returns the number of live items.
    fn live(&self) -> usize;

    /// Returns the number of items that should be live, also if no request waits for one.
    fn wanted(&self) -> usize;

    /// Notes that the number of items that may be live has changed.
    fn limit_has_changed(&self);
}
