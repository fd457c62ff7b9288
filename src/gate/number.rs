//! The creation order of gates and trees.

use super::sync::{Ordering, RelaxedU64};

/// Returns the next number in the creation order of gates and trees. The first one is 1.
pub(super) fn next_number() -> u64 {
    static NUMBERS: RelaxedU64 = RelaxedU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}
