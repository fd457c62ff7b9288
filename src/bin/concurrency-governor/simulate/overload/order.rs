//! The orders of a queue that are compared.

use concurrency_governor::Shed;

/// Which request of a queue is admitted next, and which are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueOrder {
    /// A gate of the library without shedding. A full queue rejects the request that arrives.
    OldestFirst,
    /// A gate of the simulator. A full queue rejects its oldest request.
    NewestFirst,
    /// A gate of the library that sheds.
    Shedding(Shed),
}

impl QueueOrder {
    /// Returns the name that the report uses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OldestFirst => "oldest first",
            Self::NewestFirst => "newest first",
            Self::Shedding(_) => "shedding",
        }
    }
}
