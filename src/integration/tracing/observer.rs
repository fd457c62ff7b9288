//! What a governor tells, as events.

use tracing::{debug, error, info, warn};

use super::{TARGET, knob};
use crate::event::{Event, Observer};

/// Tells the subscriber of `tracing` every [`Event`] of a governor; for
/// [`GovernorBuilder::observer`](crate::governor::GovernorBuilder::observer).
///
/// | event | level | fields |
/// |---|---|---|
/// | a limit changed | `INFO`; `WARN` if that leaves debt | `gate`, `from`, `to`, `debt` |
/// | a reading changed | `INFO` | `resource`, `from`, `to` |
/// | a rise is not believed yet | `DEBUG` | `resource`, `held`, `seen`, `remaining` |
/// | a probe failed | `WARN` | `resource`, `kept` |
/// | a probe works again | `INFO` | `resource`, `reading` |
/// | new readings were refused | `ERROR` | |
///
/// Each message says what decides and what to do about it: the setting, the part of the formula, the probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver(());

impl TracingObserver {
    /// An observer that tells whichever subscriber is there when something happens.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Observer for TracingObserver {
    fn observe(&self, event: &Event) {
        match event {
            Event::LimitChanged { gate, from, to, debt, explanation } => {
                let (from, to, knob) = (from.get(), to.get(), knob::of_limit(explanation));
                if *debt == 0 {
                    info!(target: TARGET, %gate, from, to, debt, "{event}: {knob}");
                } else {
                    warn!(target: TARGET, %gate, from, to, debt, "{event}, and none is admitted until they are back: {knob}");
                }
            }
            Event::ReadingChanged { resource, from, to } => {
                let (from, to) = (from.plain(), to.plain());
                info!(target: TARGET, %resource, %from, %to, "{event}");
            }
            Event::RiseHeld { resource, held, seen, remaining } => {
                let (held, seen) = (held.plain(), seen.plain());
                debug!(
                    target: TARGET, %resource, %held, %seen, remaining,
                    "{event}: lower `RefreshPolicy::rise_after` to believe it sooner"
                );
            }
            Event::ProbeFailed { resource, fault, kept } => {
                warn!(target: TARGET, %resource, kept = %kept.plain(), "{event}: {}", knob::of_fault(*resource, fault, *kept));
            }
            Event::ProbeRecovered { resource, reading } => {
                info!(target: TARGET, %resource, reading = %reading.plain(), "{event}");
            }
            Event::RefreshRejected { .. } => {
                error!(
                    target: TARGET,
                    "{event}: lower the setting, or let its policy be `Clamp` or `Trust`; until then the limits stay"
                );
            }
        }
    }
}
