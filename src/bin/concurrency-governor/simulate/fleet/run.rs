//! Runs `simulate --hosts`.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{LeaseTerms, TermsError};

use super::args::FleetFlags;
use super::fault::FleetFault;
use super::model::FleetModel;
use super::render;
use crate::simulate::load::ServiceTime;
use crate::simulate::progress::ProgressLine;

/// Simulates a fleet of `hosts`, and returns the report as text or JSON.
///
/// # Errors
///
/// [`FleetRunError`] if the flags do not fit each other.
pub(in crate::simulate) fn run_fleet(
    flags: &FleetFlags,
    hosts: u32,
    length: Duration,
    seed: u64,
) -> Result<String, FleetRunError> {
    let mut faults = flags.faults.clone();
    faults.sort_by_key(|fault| fault.from); // a stable sort keeps the given order of faults at the same time
    if let Some(fault) = faults.iter().find(|fault| fault.until >= length) {
        return Err(FleetRunError::FaultAfterEnd { fault: *fault, end: length });
    }
    let twice = u64::from(hosts).saturating_mul(2);
    let model = FleetModel {
        hosts,
        limit: flags.limit.unwrap_or_else(|| Limit::saturating(twice)),
        demand: flags.demand.unwrap_or(DEFAULT_DEMAND),
        hold: flags.hold.unwrap_or(ServiceTime::Exponential(Duration::from_secs(1))),
        terms: LeaseTerms::new(flags.ttl.unwrap_or(DEFAULT_TTL), flags.max_hold.unwrap_or(DEFAULT_MAX_HOLD))?,
        faults,
        length,
        seed,
    };
    if events_of(&model) > MAX_EVENTS {
        return Err(FleetRunError::TooLarge { length });
    }
    let mut progress = ProgressLine::new(model.warm_up().saturating_add(length));
    let result = model.run(|now| progress.show(now));
    drop(progress);
    Ok(if flags.json { render::json(&model, &result) } else { render::text(&model, &result) })
}

/// Estimates how many requests and exchanges are simulated.
fn events_of(model: &FleetModel) -> f64 {
    let seconds = model.warm_up().saturating_add(model.length).as_secs_f64();
    // A request takes a millisecond at least.
    let requests = f64::from(model.limit.get()) / model.hold.mean_seconds().max(0.001);
    let exchanges = f64::from(model.hosts) / model.terms.turn().as_secs_f64();
    (requests + exchanges) * seconds
}

/// The flags do not fit each other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetRunError {
    /// A time of the lease is out of range.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The fault would not be in the run.
    #[error("`--fault {fault}`: the run ends before the fault does (allowed: a time before {}, or a longer `--for`)", humantime::format_duration(*end))]
    FaultAfterEnd { fault: FleetFault, end: Duration },
    /// The run would take too much time and memory.
    #[error(
        "`--hosts`, `--limit`, `--hold` and `--for {}` give too many requests and exchanges (allowed: {MAX_EVENTS} in all; lower one of them, or raise --hold)",
        humantime::format_duration(*length)
    )]
    TooLarge { length: Duration },
}

const DEFAULT_DEMAND: u32 = 4;
const DEFAULT_TTL: Duration = Duration::from_secs(10);
const DEFAULT_MAX_HOLD: Duration = Duration::from_secs(30);

/// The largest number of events of a run: with more, a user would wait too long for its end.
const MAX_EVENTS: f64 = 100_000_000.0;
