//! The hold times, the last change and the report times of a gate that tracks its holders.

use crate::gate::clock::{self, NEVER};
use crate::gate::histogram::Histogram;
use crate::gate::wait_sampler::WaitSampler;
use crate::plan::{GateName, Holders};

/// The hold times of one gate, the last change of its permits in use, and its last reports.
pub(in crate::gate) struct GateWatch {
    pub(in crate::gate) name: GateName,
    /// The time after which a permit in use is overdue, in nanoseconds, or [`NEVER`].
    pub(in crate::gate) overdue_after: i64,
    /// Chooses the permits whose hold time is measured.
    pub(in crate::gate) sampler: WaitSampler,
    pub(in crate::gate) holds: Histogram,
    /// When permits were last acquired or released here while requests waited in the tree; `i64::MIN` at first. `None` after a release
    /// that read no clock: the next inspection stores its own instant, so a stall never seems longer than it is.
    pub(in crate::gate) changed: Option<i64>,
    /// When each kind of problem was last reported, or [`NEVER`].
    pub(in crate::gate) reported: [i64; REPORTS],
}

/// The kind of a problem that is reported about one gate.
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

    /// Records a report of this kind. Returns `false`, and records nothing, if the last one was less than 30 s ago.
    pub(in crate::gate) fn start_report(&mut self, kind: ReportKind, now: i64) -> bool {
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
