//! Emits what a governor does as events of `tracing`.

use tracing::{debug, error, info, warn};

use super::{TARGET, advice};
use crate::event::{Event, Observer};
use crate::plan::LeaseState;

/// Emits every [`Event`] of a governor as a `tracing` event. Pass it to
/// [`GovernorBuilder::observer`](crate::governor::GovernorBuilder::observer).
///
/// | event | level | fields |
/// |---|---|---|
/// | a limit changed | `INFO`; `WARN` with debt; `DEBUG` if a rule chose the limit of an adaptive gate | `gate`, `from`, `to`, `debt` |
/// | a reading changed | `INFO`; `DEBUG` for a limit that the rule of an adaptive gate has chosen | `resource`, `from`, `to` |
/// | the rule of an adaptive gate chose another limit | `DEBUG` | `gate`, `from`, `to`, `reason` |
/// | a rise is not confirmed yet | `DEBUG` | `resource`, `held`, `seen`, `remaining` |
/// | a probe failed | `WARN` | `resource`, `kept` |
/// | a probe works again | `INFO` | `resource`, `reading` |
/// | new readings were rejected | `ERROR` | |
/// | the state of the lease of a shared gate changed | `INFO`; `WARN` if it is `draining` or `unreachable` | `gate`, `from`, `to`, `block` |
/// | the limit of a fleet was set | `INFO` | `gate`, `from`, `to`, `version` |
/// | a permit is overdue | `WARN` | `gate`, `overdue` |
/// | an admitted request is not polled | `WARN` | `gate`, `unclaimed` |
/// | a gate is stalled | `ERROR` | `gate`, `waiting` |
/// | tasks wait for each other | `ERROR` | |
///
/// The message says what decides and what to change: the setting, the part of the formula, or the probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver(());

impl TracingObserver {
    /// Creates an observer that uses the current subscriber at the time of each event.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Observer for TracingObserver {
    fn observe(&self, event: &Event) {
        match event {
            Event::LimitChanged { gate, from, to, debt, explanation } => {
                let (from, to, advice) = (from.get(), to.get(), advice::for_limit(explanation));
                if advice::is_chosen_by_feedback(explanation) {
                    // Such a limit may change each second, and a short debt is normal then.
                    debug!(target: TARGET, %gate, from, to, debt, "{event}: {advice}");
                } else if *debt == 0 {
                    info!(target: TARGET, %gate, from, to, debt, "{event}: {advice}");
                } else {
                    warn!(
                        target: TARGET, %gate, from, to, debt,
                        "{event}, and no request is admitted until they are released: {advice}"
                    );
                }
            }
            Event::ReadingChanged { resource, from, to } => {
                let (from, to) = (from.plain(), to.plain());
                if resource.is_feedback() {
                    debug!(target: TARGET, %resource, %from, %to, "{event}");
                } else {
                    info!(target: TARGET, %resource, %from, %to, "{event}");
                }
            }
            Event::FeedbackDecided { gate, decision } => {
                let (from, to) = (decision.before().get(), decision.after().get());
                let reason = decision.opinion().reason();
                debug!(target: TARGET, %gate, from, to, %reason, "{event}");
            }
            Event::RiseHeld { resource, held, seen, remaining } => {
                let (held, seen) = (held.plain(), seen.plain());
                debug!(
                    target: TARGET, %resource, %held, %seen, ?remaining,
                    "{event}: lower `RefreshPolicy::rise_after` to confirm a rise sooner"
                );
            }
            Event::ProbeFailed { resource, fault, kept } => {
                let advice = advice::for_fault(*resource, fault, *kept);
                warn!(target: TARGET, %resource, kept = %kept.plain(), "{event}: {advice}");
            }
            Event::ProbeRecovered { resource, reading } => {
                info!(target: TARGET, %resource, reading = %reading.plain(), "{event}");
            }
            Event::RefreshRejected { .. } => {
                error!(
                    target: TARGET,
                    "{event}: lower the setting, or set its policy to `Clamp` or `Trust`; until then the limits stay"
                );
            }
            Event::LeaseChanged { gate, from, to, lease } => {
                let block = lease.block;
                match to {
                    LeaseState::Draining | LeaseState::Unreachable => warn!(
                        target: TARGET, %gate, %from, %to, block,
                        "{event}: check the ledger; until it answers, only what `Share::unreachable` allows is admitted"
                    ),
                    _ => info!(target: TARGET, %gate, %from, %to, block, "{event}"),
                }
            }
            Event::FleetLimitChanged { gate, from, to, version } => {
                info!(target: TARGET, %gate, from = from.get(), to = to.get(), version, "{event}");
            }
            Event::PermitOverdue { gate, overdue, .. } => {
                warn!(
                    target: TARGET, %gate, overdue,
                    "{event}: bound the work under the permit by a timeout, or raise `Holders::overdue_after`"
                );
            }
            Event::GrantUnclaimed { gate, unclaimed, .. } => {
                warn!(
                    target: TARGET, %gate, unclaimed,
                    "{event}: poll or drop each future that acquires, such as the loser of a `select!`"
                );
            }
            Event::Stalled { gate, waiting, .. } => {
                error!(
                    target: TARGET, %gate, waiting,
                    "{event}: find out what these holders wait for; `Governor::diagnose` shows all of them"
                );
            }
            Event::WaitCycle { .. } => {
                error!(
                    target: TARGET,
                    "{event}: acquire these permits in the same order everywhere, or at once, or set a maximum wait"
                );
            }
        }
    }
}
