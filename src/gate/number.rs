//! The order of gates.

use super::sync::{Ordering, PlainCounter};

/// Returns the number of a gate or a tree that is created now, from 1 on.
pub(super) fn next_number() -> u64 {
    static NUMBERS: PlainCounter = PlainCounter::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}
