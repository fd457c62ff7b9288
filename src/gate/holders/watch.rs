//! What a gate that tracks its holders keeps beside their records.

use crate::gate::clock::{self, NEVER};
use crate::gate::histogram::Histogram;
use crate::gate::wait_sampler::WaitSampler;
use crate::plan::{GateName, Holders};

/// The hold times of one gate, and when something last moved there.
pub(in crate::gate) struct GateWatch {
    pub(in crate::gate) name: GateName,
    /// Nanoseconds, or [`NEVER`].
    pub(in crate::gate) overdue_after: i64,
    /// Chooses the permits whose hold time is measured.
    pub(in crate::gate) sampler: WaitSampler,
    pub(in crate::gate) holds: Histogram,
    /// When permits were last acquired or released here while requests waited in the tree. `None` after a release that read no clock: the
    /// next look takes its own instant, so nothing seems older than it is.
    pub(in crate::gate) changed: Option<i64>,
    /// When each kind of event was last reported.
    pub(in crate::gate) reported: [i64; REPORTS],
}

/// What is reported about one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportKind {
    Overdue = 0,
    Unclaimed = 1,
    Stalled = 2,
    Cycle = 3,
}

const REPORTS: usize = 4;

impl GateWatch {
    pub(in crate::gate) fn new(name: GateName, holders: Holders) -> Self {
        Self {
            name,
            overdue_after: clock::from_duration(holders.overdue_duration()),
            sampler: WaitSampler::new(true),
            holds: Histogram::default(),
            changed: Some(i64::MIN),
            reported: [NEVER; REPORTS],
        }
    }

    /// Returns `true` if this kind has not been reported in the last 30 s, and notes that it is reported now.
    pub(in crate::gate) fn may_report(&mut self, kind: ReportKind, now: i64) -> bool {
        let last = &mut self.reported[kind as usize];
        let is_due = *last == NEVER || now.saturating_sub(*last) >= REPORT_INTERVAL;
        if is_due {
            *last = now;
        }
        is_due
    }

    /// Returns `true` if this instant is so long ago that a permit in use since then is overdue.
    pub(in crate::gate) const fn is_overdue(&self, since: i64, now: i64) -> bool {
        self.overdue_after != NEVER && now.saturating_sub(since) > self.overdue_after
    }
}

/// 30 s.
const REPORT_INTERVAL: i64 = 30_000_000_000;
