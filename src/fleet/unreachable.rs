//! What a process admits while its ledger cannot be reached.

/// What a process admits while it has no lease, because its ledger cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreachable {
    /// Nothing. The limit of the fleet is kept, and requests wait.
    #[default]
    Closed,
    /// Each process has `permits` of its own, always, with a lease or without one. They count against the limit up front: the ledger has the rest,
    /// `limit - permits * processes`, and that is the limit that it shows and that an operator sets. Permits of its own are used first.
    ///
    /// The limit of the fleet is kept, as long as at most `processes` processes run.
    Reserved {
        /// The permits of each process.
        permits: u32,
        /// The largest number of processes.
        processes: u32,
    },
    /// The local limit, once an exchange has failed and the lease has ended. **The limit of the fleet is not kept:** `N` processes then
    /// admit up to `N` times their local limits. When the ledger answers again, the process admits nothing until enough work has
    /// ended.
    Local,
}
