//! Periods that differ a little, so that a fleet does not do the same thing in step.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The period, moved by up to a tenth either way.
pub(crate) fn jittered(period: Duration) -> Duration {
    // Random keys are what the standard library has for randomness; nothing here needs more.
    let random = RandomState::new().hash_one(0_u8) & 0xff;
    let tenth = period.checked_div(10).unwrap_or_default();
    let shift = tenth.saturating_mul(2).checked_div(0xff).unwrap_or_default();
    let shift = shift.saturating_mul(u32::try_from(random).unwrap_or(0));
    period.saturating_sub(tenth).saturating_add(shift)
}
