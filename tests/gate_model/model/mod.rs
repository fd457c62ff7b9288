//! A model of one gate. The random tests, the fuzzer and the corpus share it.
//!
//! [`run`] decodes bytes into steps. It applies each step to a real gate and to an [`Oracle`], which
//! implements the same rules with a `VecDeque`. After each step it compares:
//!
//! - the result of the call or poll;
//! - which wakers were woken and in which order, and that no other waker was woken;
//! - which wakers the gate retains;
//! - every number of the status. The invariants of the status are checked without the oracle, too.
//!
//! The bytes describe one gate after another. When the last handle of a gate is dropped while permits are in
//! use, one of these permits may create a new handle. The run then continues with the same gate.

use std::sync::Arc;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Gate, OwnedPermit};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use decisions::Decisions;
use driver::StepDriver;
use oracle::{DRAINED_SLOTS, GateSettings, NAME, Oracle, REQUEST_SLOTS};
use step_mix::STEP_MIXES;
use wakers::{RecordingWaker, WakeLog};

pub(crate) use events::{Coverage, Event};

pub(crate) mod decisions;
mod driver;
pub(crate) mod events;
mod oracle;
mod slots;
mod step_mix;
mod steps;
pub(crate) mod wakers;

/// Runs the gates and steps that `bytes` describe, and returns which events happened.
///
/// # Panics
///
/// If a gate differs from the oracle.
pub(crate) fn run(bytes: &[u8]) -> Coverage {
    CLOCK.with(|clock| {
        let _entered = clock.enter();
        let mut environment = Environment::new(clock, Decisions::new(bytes));
        let mut coverage = Coverage::new();
        while !environment.decisions.is_empty() {
            coverage = environment.run_gate(coverage);
        }
        environment.assert_no_waker_is_retained();
        coverage
    })
}

thread_local! {
    /// A runtime with paused time. Only the steps advance the clock.
    pub(crate) static CLOCK: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

/// The state that all gates of a run share.
struct Environment<'e> {
    clock: &'e Runtime,
    decisions: Decisions<'e>,
    start: Instant,
    /// The current time, in milliseconds since `start`.
    now: u64,
    wake_log: Arc<WakeLog>,
    /// Two wakers for each slot, so that a poll can replace one by the other.
    wakers: [[RecordingWaker; 2]; REQUEST_SLOTS + DRAINED_SLOTS],
    /// The index of the step mix of the current gate.
    mix: usize,
}

impl<'e> Environment<'e> {
    fn new(clock: &'e Runtime, decisions: Decisions<'e>) -> Self {
        let wake_log = Arc::new(WakeLog::new());
        let mut ids = 0..;
        let mut waker = || RecordingWaker::new(ids.next().unwrap(), &wake_log);
        let wakers = std::array::from_fn(|_| [waker(), waker()]);
        Self { clock, decisions, start: Instant::now(), now: 0, wake_log, wakers, mix: 0 }
    }

    /// Runs one gate from its creation until it is gone, or until the bytes end. Adds its events to
    /// `coverage`.
    fn run_gate(&mut self, coverage: Coverage) -> Coverage {
        let settings = self.decide_settings();
        self.mix = self.decisions.below(STEP_MIXES.len() as u32) as usize;
        let mut builder = Gate::builder(NAME, Limit::new(settings.limit));
        if settings.queue_bound < usize::MAX {
            builder = builder.queue(settings.queue_bound);
        }
        if let Some(ms) = settings.max_wait {
            builder = builder.max_wait(Duration::from_millis(ms));
        }
        let mut gate = builder.measure_waits(settings.measures_waits).build();
        let mut oracle = Oracle::new(settings, self.now, coverage);
        let mut owned_permits = Vec::with_capacity(MAX_PERMITS);
        loop {
            owned_permits = StepDriver::new(&gate, self, &mut oracle, owned_permits).run();
            drop(gate);
            match self.recreate_handle(&mut oracle, &mut owned_permits) {
                Some(handle) => gate = handle,
                None => return oracle.coverage,
            }
        }
    }

    fn decide_settings(&mut self) -> GateSettings {
        let (limit, shape) = (self.decisions.below(LIMITS.len() as u32), self.decisions.below(16));
        let limit = LIMITS[limit as usize];
        let bounds = [usize::MAX, usize::MAX, usize::MAX, 5, usize::MAX, 2, usize::MAX, 0];
        GateSettings {
            limit,
            queue_bound: bounds[shape as usize % 8],
            max_wait: (shape >= 12).then(|| u64::from(shape - 8)),
            // A gate that does not measure waits takes shorter code paths into and out of the queue.
            measures_waits: (limit ^ shape) & 1 == 0,
        }
    }

    /// Drops some or all of the permits of a gate without a handle. If a permit is left, creates a handle
    /// from it and checks that the gate is unchanged. Returns `None` if no permit is left, so that the gate
    /// is gone.
    fn recreate_handle(&mut self, oracle: &mut Oracle, owned_permits: &mut Vec<OwnedPermit>) -> Option<Gate> {
        if owned_permits.is_empty() {
            oracle.coverage.record(Event::GoneWithHandle);
            return None;
        }
        oracle.coverage.record(Event::HandlesDropped);
        let keeps_one = !self.decisions.is_empty() && self.decisions.below(4) > 0;
        let least = usize::from(keeps_one);
        while owned_permits.len() > least && (!keeps_one || self.decisions.below(3) == 0) {
            let at = self.decisions.below(owned_permits.len() as u32) as usize;
            let permit = owned_permits.swap_remove(at);
            oracle.release(permit.weight());
            oracle.coverage.record(Event::ReleasedWithoutHandle);
            drop(permit);
        }
        let gate = owned_permits.first().map(|permit| permit.gate().clone());
        if let Some(gate) = &gate {
            oracle.check(&gate.status(), owned_permits.iter().map(OwnedPermit::weight).sum());
            oracle.coverage.record(Event::HandleRecreated);
        } else {
            oracle.coverage.record(Event::GoneWithPermit);
            assert_eq!((oracle.in_use(), oracle.waiting()), (0, 0), "the oracle itself has lost a permit");
        }
        gate
    }

    fn assert_no_waker_is_retained(&self) {
        let retained = self.wakers.iter().flatten().any(|waker| waker.retained_clones() > 0);
        assert!(!retained, "a waker outlived the gate");
    }
}

/// The maximum number of permits that a run holds at once. More permits would not reach other states.
const MAX_PERMITS: usize = 32;
/// Mostly low limits, so that requests have to wait.
const LIMITS: [u32; 16] = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8];
