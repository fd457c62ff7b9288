//! The answers of the engines.

use std::time::Duration;

use crate::plan::Limit;

use super::ledger::LedgerError;
use super::step::{Fence, Grant, LimitVersion};

/// Reads the answer of an engine to an exchange: a list of numbers. Returns `None` if the list has another shape.
pub(super) fn read_answer(answer: &[u64]) -> Option<Result<Grant, LedgerError>> {
    match *answer {
        [0, last] => Some(Err(LedgerError::Replayed { last })),
        [1, cap, target, epoch, seq, learning, limit, version, granted, holders] => Some(Ok(Grant {
            cap: u32::try_from(cap).unwrap_or(u32::MAX),
            target: u32::try_from(target).unwrap_or(u32::MAX),
            fence: Fence { epoch, seq },
            learning: Duration::from_millis(learning),
            limit: LimitVersion { limit: Limit::saturating(limit), version },
            granted,
            holders,
        })),
        _ => None,
    }
}
