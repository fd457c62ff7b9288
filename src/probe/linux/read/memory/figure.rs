//! The two figures of the memory.

/// Which number of bytes is measured.
///
/// Both are read from the same limits, and each remainder is at most its limit. So the available memory is never more
/// than the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum MemoryFigure {
    /// All memory that may be used, including what is in use.
    Total,
    /// The memory that can still be allocated.
    Available,
}
